"""The one table from the log's events to the events that clients receive.

Invariant: every event of a room has a wire event with its seq, so that clients see no gap in the numbers. `userId` is
the subject in `room:user_joined`, `room:user_left`, `room:member_updated` and `room:invited`, where `by` is the author;
in all others it is the author.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.domain import events as log
from service.domain.events import Event, Recorded
from service.domain.streams import room_of
from service.protocol.events import (
    Invited,
    MemberUpdated,
    MessageDeleted,
    MessageEdited,
    MessageNew,
    MessagePinned,
    MessageReaction,
    Outgoing,
    RoomCreated,
    RoomUpdated,
    UserJoined,
    UserLeft,
    timestamp,
)

NameOf = Callable[[str], str]
"""The display name of a user; the user's id if no name is known."""


def to_wire(recorded: Recorded, name_of: NameOf) -> Outgoing:
    """Return the wire event of an event of a room's stream."""
    if isinstance(recorded.event, log.Unreadable):
        return RoomUpdated(
            **_by_author(recorded)
        )  # without changes: clients see the seq, and do not wait for it
    return TO_WIRE[type(recorded.event)](recorded, recorded.event, name_of)


def _room_created(recorded: Recorded, event: log.RoomOpened, _name_of: NameOf) -> Outgoing:
    return RoomCreated(**_by_author(recorded), name=event.name, visibility=event.visibility)


def _renamed(recorded: Recorded, event: log.RoomRenamed, _name_of: NameOf) -> Outgoing:
    return RoomUpdated(**_by_author(recorded), name=event.name)


def _topic_changed(recorded: Recorded, event: log.RoomTopicChanged, _name_of: NameOf) -> Outgoing:
    return RoomUpdated(**_by_author(recorded), topic=event.topic or None)


def _archived(recorded: Recorded, event: Event, _name_of: NameOf) -> Outgoing:
    return RoomUpdated(**_by_author(recorded), archived=isinstance(event, log.RoomArchived))


def _retention_changed(recorded: Recorded, event: log.RoomRetentionChanged, _name_of: NameOf) -> Outgoing:
    return RoomUpdated(**_by_author(recorded), retention_days=event.days)


def _invited(recorded: Recorded, event: log.MemberInvited, _name_of: NameOf) -> Outgoing:
    return Invited(**_common(recorded), user_id=event.user, by=recorded.by)


def _user_joined(recorded: Recorded, event: log.MemberJoined, name_of: NameOf) -> Outgoing:
    return UserJoined(**_common(recorded), user_id=event.user, name=name_of(event.user), role=event.role)


def _user_left(recorded: Recorded, event: log.MemberLeft, _name_of: NameOf) -> Outgoing:
    return UserLeft(**_common(recorded), user_id=event.user, reason="left")


def _user_removed(recorded: Recorded, event: log.MemberRemoved, _name_of: NameOf) -> Outgoing:
    return UserLeft(**_moderated(recorded, event), reason="kicked")


def _user_banned(recorded: Recorded, event: log.MemberBanned, _name_of: NameOf) -> Outgoing:
    return UserLeft(**_moderated(recorded, event), reason="banned", until=_time(event.until))


def _unbanned(recorded: Recorded, event: log.MemberUnbanned, _name_of: NameOf) -> Outgoing:
    return MemberUpdated(**_moderated(recorded, event), banned=False)


def _muted(recorded: Recorded, event: log.MemberMuted, _name_of: NameOf) -> Outgoing:
    return MemberUpdated(**_moderated(recorded, event), muted=True, until=_time(event.until))


def _unmuted(recorded: Recorded, event: log.MemberUnmuted, _name_of: NameOf) -> Outgoing:
    return MemberUpdated(**_moderated(recorded, event), muted=False)


def _role_changed(recorded: Recorded, event: log.RoleChanged, _name_of: NameOf) -> Outgoing:
    return MemberUpdated(**_moderated(recorded, event), role=event.role)


def _message_new(recorded: Recorded, event: log.MessagePosted, name_of: NameOf) -> Outgoing:
    return MessageNew(
        **_common(recorded),
        message_id=recorded.seq,
        user_id=event.author,
        name=name_of(event.author),
        content=event.content,
        ref=event.ref or None,
        reply_to=event.reply_to,
        mentions=event.mentions,
    )


def _edited(recorded: Recorded, event: log.MessageEdited, _name_of: NameOf) -> Outgoing:
    return MessageEdited(**_by_author(recorded), message_id=event.message, content=event.content)


def _deleted(recorded: Recorded, event: log.MessageDeleted, _name_of: NameOf) -> Outgoing:
    return MessageDeleted(**_by_author(recorded), message_id=event.message, explanation=event.reason)


def _reaction(
    recorded: Recorded, event: log.ReactionAdded | log.ReactionRemoved, _name_of: NameOf
) -> Outgoing:
    added = isinstance(event, log.ReactionAdded)
    return MessageReaction(**_by_author(recorded), message_id=event.message, emoji=event.emoji, added=added)


def _pinned(recorded: Recorded, event: log.MessagePinned | log.MessageUnpinned, _name_of: NameOf) -> Outgoing:
    pinned = isinstance(event, log.MessagePinned)
    return MessagePinned(**_by_author(recorded), message_id=event.message, pinned=pinned)


def _common(recorded: Recorded) -> dict[str, Any]:
    return {"room_id": room_of(recorded.stream), "seq": recorded.seq, "at": timestamp(recorded.at)}


def _by_author(recorded: Recorded) -> dict[str, Any]:
    return {**_common(recorded), "user_id": recorded.by}


def _moderated(recorded: Recorded, event: Any) -> dict[str, Any]:
    return {**_common(recorded), "user_id": event.user, "by": recorded.by, "explanation": event.reason}


def _time(at: datetime | None) -> str | None:
    return timestamp(at) if at else None


TO_WIRE: dict[type[Event], Callable[[Recorded, Any, NameOf], Outgoing]] = {
    log.RoomOpened: _room_created,
    log.RoomRenamed: _renamed,
    log.RoomTopicChanged: _topic_changed,
    log.RoomArchived: _archived,
    log.RoomReopened: _archived,
    log.RoomRetentionChanged: _retention_changed,
    log.MemberInvited: _invited,
    log.MemberJoined: _user_joined,
    log.MemberLeft: _user_left,
    log.MemberRemoved: _user_removed,
    log.MemberBanned: _user_banned,
    log.MemberUnbanned: _unbanned,
    log.MemberMuted: _muted,
    log.MemberUnmuted: _unmuted,
    log.RoleChanged: _role_changed,
    log.MessagePosted: _message_new,
    log.MessageEdited: _edited,
    log.MessageDeleted: _deleted,
    log.ReactionAdded: _reaction,
    log.ReactionRemoved: _reaction,
    log.MessagePinned: _pinned,
    log.MessageUnpinned: _pinned,
}
"""The wire event of each event in a room's stream."""
