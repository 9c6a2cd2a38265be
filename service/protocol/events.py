"""The events and replies as clients receive them. What of the log becomes which of them stands in `names`.

A struct's tag is its wire name. Everything that belongs to a room's order carries `seq`. Times are RFC 3339, UTC, with
microseconds. Clients ignore fields they do not know, so fields may be added here, never taken away.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.domain.events import Role, Visibility


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
    """A user is not in a room any more; `by` and `explanation` where somebody else saw to that.

    Or they have disconnected: `reason` says `disconnect` then, and without `seq` and `at` it is not part of the room's
    order; they are a member all the same.
    """

    room_id: str
    seq: int | None = None
    user_id: str
    reason: Literal["left", "kicked", "banned", "disconnect"]
    at: str | None = None
    by: str | None = None
    until: str | None = None
    explanation: str | None = None


class MemberUpdated(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:member_updated"
):
    """A user has another role, may speak or not, or may come back: one of `role`, `muted` and `banned`."""

    room_id: str
    seq: int
    user_id: str
    by: str
    at: str
    role: Role | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    banned: bool | UnsetType = UNSET
    until: str | None = None
    explanation: str | None = None


class Invited(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:invited"):
    """A user may join a room; whoever is invited is told its name too, since they do not hear it yet."""

    room_id: str
    seq: int
    user_id: str
    by: str
    at: str
    name: str | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET


class RoomUpdated(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="room:updated"
):
    """A room has another name or topic, was archived or reopened, or keeps what is said for so many days from now on.

    `topic` is null where there is none (any more), `retentionDays` where what is said is kept for ever.
    """

    room_id: str
    seq: int
    user_id: str
    at: str
    name: str | UnsetType = UNSET
    topic: str | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET
    retention_days: int | UnsetType | None = UNSET


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


class MessageEdited(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:edited"
):
    """A message says something else now; `content` is null once it is deleted or erased."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    content: str | None
    at: str


class MessageDeleted(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:deleted"
):
    """A message is shown no more, by its author or a moderator."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    at: str
    explanation: str | None = None


class MessageReaction(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:reaction"
):
    """A user gave a message an emoji, or took it back."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    emoji: str
    added: bool
    at: str


class MessagePinned(
    Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:pinned"
):
    """A message was hung on the room's wall, or taken from it."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    pinned: bool
    at: str


class Reaction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who gave a message an emoji, in the order in which they did; `count` is all of them, `userIds` the first."""

    emoji: str
    count: int
    user_ids: tuple[str, ...]


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message in a page of history; a deleted one keeps its place, without words and reactions."""

    room_id: str
    message_id: int
    seq: int
    user_id: str
    name: str
    content: str | None
    at: str
    edited_at: str | None = None
    deleted_at: str | None = None
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    pinned: bool = False


class History(Outgoing, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag="message:history"):
    """A page of messages, oldest first."""

    room_id: str
    messages: list[Message]
    has_more: bool


class MemberEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A member in a list; `lastSeen` is null while online and where it is not known; `muted` only where it is true."""

    user_id: str
    name: str
    role: Role
    status: str
    last_seen: str | None
    muted: bool | UnsetType = UNSET
    muted_until: str | UnsetType = UNSET


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
    topic: str | None
    archived: bool


class Invitation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A room in `room:list` that one may join and has not joined yet."""

    room_id: str
    name: str
    visibility: Visibility
    by: str
    at: str


def timestamp(at: datetime) -> str:
    """Return a time as RFC 3339 text in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
