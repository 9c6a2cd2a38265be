"""The events and replies as clients receive them, and the one table from the log's events to their wire names.

A struct's tag is its wire name. Everything that belongs to a room's order carries `seq`. Times are RFC 3339, UTC, with
microseconds. Clients ignore fields they do not know, so fields may be added here, never taken away.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from service.domain.events import (
    Event,
    MemberJoined,
    MemberLeft,
    MessagePosted,
    Recorded,
    Role,
    RoleChanged,
    RoomOpened,
    Visibility,
)
from service.domain.streams import room_of

NameOf = Callable[[str], str]
"""What a user is called; the user's id where no name is known."""


class Outgoing(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"
):
    """Anything the server sends of its own accord."""


class RoomCreated(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:created"
):
    """A room came to be; the first event that its members hear."""

    room_id: str
    seq: int
    name: str
    visibility: Visibility
    user_id: str
    at: str


class UserJoined(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:user_joined"
):
    """A user became a member.

    Or one who was said to have disconnected is back: `reason` says `reconnect` then, and without `seq` and `at` it is
    not part of the room's order.
    """

    room_id: str
    seq: int | None = None
    user_id: str
    name: str
    role: Role
    reason: Literal["reconnect"] | None = None
    at: str | None = None


class UserLeft(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:user_left"):
    """A user is not a member any more.

    Or they have disconnected: `reason` says `disconnect` then, and without `seq` and `at` it is not part of the room's
    order; they are a member all the same.
    """

    room_id: str
    seq: int | None = None
    user_id: str
    reason: str
    at: str | None = None


class MemberUpdated(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:member_updated"
):
    """A member has another role."""

    room_id: str
    seq: int
    user_id: str
    role: Role
    at: str


class MessageNew(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:new"):
    """A message was posted; `ref` is shown to its author's connections only, `content` is null once erased."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    name: str
    content: str | None
    at: str
    ref: str | None = None
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message in a page of history."""

    room_id: str
    message_id: int
    seq: int
    user_id: str
    name: str
    content: str | None
    at: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()


class History(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:history"):
    """A page of messages, oldest first."""

    room_id: str
    messages: list[Message]
    has_more: bool


class MemberEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A member in a list; `lastSeen` is null while online and where it is not known."""

    user_id: str
    name: str
    role: Role
    status: str
    last_seen: str | None


class Members(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:members"):
    """A page of members, by user id."""

    room_id: str
    members: list[MemberEntry]
    has_more: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far one user has read."""

    user_id: str
    message_id: int
    at: str


class Receipts(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:receipts"):
    """How far everybody has read."""

    room_id: str
    receipts: list[Receipt]


class MessageReadBy(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:read"
):
    """A marker moved. Not part of the room's order, so without `seq`."""

    room_id: str
    user_id: str
    message_id: int
    at: str


class PresenceChanged(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="presence:changed"
):
    """Somebody who shares a room is connected otherwise than before; `lastSeen` is null unless they are offline."""

    user_id: str
    status: Literal["online", "away", "offline"]
    last_seen: str | None


class TypingStarted(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="typing:start"
):
    """Somebody types."""

    room_id: str
    user_id: str


class TypingStopped(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="typing:stop"
):
    """Somebody types no more."""

    room_id: str
    user_id: str


class RoomHead(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What `connected` says of one room."""

    recovered: bool
    head: int | None = None
    reason: str | None = None


class Connected(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="connected"):
    """The answer to `connect`."""

    protocol: int
    user_id: str
    session: str
    epoch: str
    expires_at: str
    ping_interval: float
    rooms: dict[str, RoomHead]


class RoomSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A room in `room:list`, as one member sees it."""

    room_id: str
    name: str
    visibility: Visibility
    role: Role
    head: int
    unread: int
    mentions: int
    last_read: int
    last_message: Message | None


def timestamp(at: datetime) -> str:
    """Return a time as RFC 3339 text in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _room_created(recorded: Recorded, event: RoomOpened, _name_of: NameOf) -> Outgoing:
    return RoomCreated(**_common(recorded), name=event.name, visibility=event.visibility, user_id=recorded.by)


def _user_joined(recorded: Recorded, event: MemberJoined, name_of: NameOf) -> Outgoing:
    return UserJoined(**_common(recorded), user_id=event.user, name=name_of(event.user), role=event.role)


def _user_left(recorded: Recorded, event: MemberLeft, _name_of: NameOf) -> Outgoing:
    return UserLeft(**_common(recorded), user_id=event.user, reason="left")


def _member_updated(recorded: Recorded, event: RoleChanged, _name_of: NameOf) -> Outgoing:
    return MemberUpdated(**_common(recorded), user_id=event.user, role=event.role)


def _message_new(recorded: Recorded, event: MessagePosted, name_of: NameOf) -> Outgoing:
    return MessageNew(
        **_common(recorded),
        message_id=recorded.seq,
        user_id=event.author,
        name=name_of(event.author),
        content=event.content,
        ref=event.ref,
        reply_to=event.reply_to,
        mentions=event.mentions,
    )


def _common(recorded: Recorded) -> dict[str, Any]:
    return {"room_id": room_of(recorded.stream), "seq": recorded.seq, "at": timestamp(recorded.at)}


TO_WIRE: dict[type[Event], Callable[[Recorded, Any, NameOf], Outgoing]] = {
    RoomOpened: _room_created,
    MemberJoined: _user_joined,
    MemberLeft: _user_left,
    RoleChanged: _member_updated,
    MessagePosted: _message_new,
}
"""What a room hears of each event in its stream: every event has a place, so that clients see no gap."""


def to_wire(recorded: Recorded, name_of: NameOf) -> Outgoing:
    """Return what the room hears of an event of its stream."""
    return TO_WIRE[type(recorded.event)](recorded, recorded.event, name_of)
