"""The one table from the log's events to the events that clients receive.

Invariant: every event of a room has a wire event with its seq, so that clients see no gap in the numbers. `userId` is
the subject in `room:user_joined`, `room:user_left`, `room:member_updated` and `room:invited`, where `by` is the author;
in all others it is the author.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.domain import events as log
from service.domain.content.names import shown_room, shown_topic
from service.domain.content.reactions import normal_form
from service.domain.events import Event, Recorded
from service.domain.streams import room_of
from service.protocol import events as wire
from service.protocol.events import Outgoing, timestamp

NameOf = Callable[[str], str]
"""The display name of a user; the user's id if no name is known."""


def to_wire(recorded: Recorded, name_of: NameOf) -> Outgoing:
    """Return the wire event of an event of a room's stream."""
    if isinstance(recorded.event, log.Unreadable):
        # An update without changes: clients see the seq, and do not wait for it.
        return wire.RoomUpdated(**_by_author(recorded))
    return TO_WIRE[type(recorded.event)](recorded, recorded.event, name_of)


def _message_new(recorded: Recorded, event: log.MessagePosted, name_of: NameOf) -> Outgoing:
    return wire.MessageNew(
        **_common(recorded),
        message_id=recorded.seq,
        user_id=event.author,
        name=name_of(event.author),
        content=event.content,
        ref=event.ref or None,
        reply_to=event.reply_to,
        mentions=event.mentions,
    )


def _user_joined(recorded: Recorded, event: log.MemberJoined, name_of: NameOf) -> Outgoing:
    name = name_of(event.user)
    return wire.UserJoined(**_common(recorded), user_id=event.user, name=name, role=event.role)


def _common(recorded: Recorded) -> dict[str, Any]:
    return {"room_id": room_of(recorded.stream), "seq": recorded.seq, "at": timestamp(recorded.at)}


def _by_author(recorded: Recorded) -> dict[str, Any]:
    return {**_common(recorded), "user_id": recorded.by}


def _room_name(recorded: Recorded, event: log.RoomOpened | log.RoomRenamed) -> str:
    return shown_room(event.name, room_of(recorded.stream))


def _about_message(recorded: Recorded, event: Any) -> dict[str, Any]:
    return {**_by_author(recorded), "message_id": event.message}


def _moderated(recorded: Recorded, event: Any) -> dict[str, Any]:
    return {**_common(recorded), "user_id": event.user, "by": recorded.by, "explanation": event.reason}


def _time(at: datetime | None) -> str | None:
    return timestamp(at) if at else None


TO_WIRE: dict[type[Event], Callable[[Recorded, Any, NameOf], Outgoing]] = {
    log.RoomOpened: lambda recorded, event, _: wire.RoomCreated(
        **_by_author(recorded), name=_room_name(recorded, event), visibility=event.visibility
    ),
    log.RoomRenamed: lambda recorded, event, _: wire.RoomUpdated(
        **_by_author(recorded), name=_room_name(recorded, event)
    ),
    log.RoomTopicChanged: lambda recorded, event, _: wire.RoomUpdated(
        **_by_author(recorded), topic=shown_topic(event.topic)
    ),
    log.RoomArchived: lambda recorded, *_: wire.RoomUpdated(**_by_author(recorded), archived=True),
    log.RoomReopened: lambda recorded, *_: wire.RoomUpdated(**_by_author(recorded), archived=False),
    log.RoomRetentionChanged: lambda recorded, event, _: wire.RoomUpdated(
        **_by_author(recorded), retention_days=event.days
    ),
    log.MemberInvited: lambda recorded, event, _: wire.Invited(
        **_common(recorded), user_id=event.user, by=recorded.by
    ),
    log.MemberJoined: _user_joined,
    log.MemberLeft: lambda recorded, event, _: wire.UserLeft(
        **_common(recorded), user_id=event.user, reason="left"
    ),
    log.MemberRemoved: lambda recorded, event, _: wire.UserLeft(
        **_moderated(recorded, event), reason="kicked"
    ),
    log.MemberBanned: lambda recorded, event, _: wire.UserLeft(
        **_moderated(recorded, event), reason="banned", until=_time(event.until)
    ),
    log.MemberUnbanned: lambda recorded, event, _: wire.MemberUpdated(
        **_moderated(recorded, event), banned=False
    ),
    log.MemberMuted: lambda recorded, event, _: wire.MemberUpdated(
        **_moderated(recorded, event), muted=True, until=_time(event.until)
    ),
    log.MemberUnmuted: lambda recorded, event, _: wire.MemberUpdated(
        **_moderated(recorded, event), muted=False
    ),
    log.RoleChanged: lambda recorded, event, _: wire.MemberUpdated(
        **_moderated(recorded, event), role=event.role
    ),
    log.MessagePosted: _message_new,
    log.MessageEdited: lambda recorded, event, _: wire.MessageEdited(
        **_about_message(recorded, event), content=event.content
    ),
    log.MessageDeleted: lambda recorded, event, _: wire.MessageDeleted(
        **_about_message(recorded, event), explanation=event.reason
    ),
    log.ReactionAdded: lambda recorded, event, _: wire.MessageReaction(
        **_about_message(recorded, event), emoji=normal_form(event.emoji), added=True
    ),
    log.ReactionRemoved: lambda recorded, event, _: wire.MessageReaction(
        **_about_message(recorded, event), emoji=normal_form(event.emoji), added=False
    ),
    log.MessagePinned: lambda recorded, event, _: wire.MessagePinned(
        **_about_message(recorded, event), pinned=True
    ),
    log.MessageUnpinned: lambda recorded, event, _: wire.MessagePinned(
        **_about_message(recorded, event), pinned=False
    ),
}
"""The wire event of each event in a room's stream."""
