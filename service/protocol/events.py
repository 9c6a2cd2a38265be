"""The events and replies as clients receive them. `translate` has the table from the log's events to these.

A struct's tag is its wire name. An event that belongs to a room's order has a `seq`. Times are RFC 3339, UTC, with
microseconds. Clients ignore unknown fields, so fields may be added here and never removed.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.domain.events import Role, Visibility


class Outgoing(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"
):
    """A frame that the server sends on its own."""


class RoomCreated(Outgoing, frozen=True, kw_only=True, tag="room:created"):
    """A room was created; the first event that its members receive."""

    room_id: str
    seq: int
    name: str
    visibility: Visibility
    user_id: str
    at: str


class UserJoined(Outgoing, frozen=True, kw_only=True, tag="room:user_joined"):
    """A user became a member.

    With the reason `reconnect`, a member who was reported as disconnected is connected again; such an event has no
    `seq` and `at`, since it is not part of the room's order.
    """

    room_id: str
    seq: int | None = None
    user_id: str
    name: str
    role: Role
    reason: Literal["reconnect"] | None = None
    at: str | None = None


class UserLeft(Outgoing, frozen=True, kw_only=True, tag="room:user_left"):
    """A user is no longer in a room; `by` and `explanation` are present if another user caused it.

    With the reason `disconnect`, the user has disconnected and is still a member; such an event has no `seq` and `at`,
    since it is not part of the room's order.
    """

    room_id: str
    seq: int | None = None
    user_id: str
    reason: Literal["left", "kicked", "banned", "disconnect"]
    at: str | None = None
    by: str | None = None
    until: str | None = None
    explanation: str | None = None


class MemberUpdated(Outgoing, frozen=True, kw_only=True, tag="room:member_updated"):
    """A user's role, mute or ban changed: one of `role`, `muted` and `banned`."""

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


class Invited(Outgoing, frozen=True, kw_only=True, tag="room:invited"):
    """A user was invited; the event carries the room's name, which the invited user does not know otherwise."""

    room_id: str
    seq: int
    user_id: str
    by: str
    at: str
    name: str | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET


class RoomUnsubscribed(Outgoing, frozen=True, kw_only=True, tag="room:unsubscribed"):
    """This connection no longer receives a room that others added the user to; `room:join` subscribes to it again.

    The user is still a member. Not part of the room's order, so without `seq`.
    """

    room_id: str


class RoomUpdated(Outgoing, frozen=True, kw_only=True, tag="room:updated"):
    """A room's name, topic or retention changed, or the room was archived or reopened.

    `topic` is null if there is none, `retentionDays` if messages are kept for ever.
    """

    room_id: str
    seq: int
    user_id: str
    at: str
    name: str | UnsetType = UNSET
    topic: str | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET
    retention_days: int | UnsetType | None = UNSET


class MessageNew(Outgoing, frozen=True, kw_only=True, tag="message:new"):
    """A message was posted; `ref` is sent to its author's connections only, `content` is null once erased."""

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


class MessageEdited(Outgoing, frozen=True, kw_only=True, tag="message:edited"):
    """A message was edited; `content` is null once it is deleted or erased."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    content: str | None
    at: str


class MessageDeleted(Outgoing, frozen=True, kw_only=True, tag="message:deleted"):
    """A message was deleted, by its author or a moderator."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    at: str
    explanation: str | None = None


class MessageReaction(Outgoing, frozen=True, kw_only=True, tag="message:reaction"):
    """A user added an emoji to a message, or removed it; only that user's connections receive `mine`, as in a page."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    emoji: str
    added: bool
    at: str
    mine: bool | None = None


class MessagePinned(Outgoing, frozen=True, kw_only=True, tag="message:pinned"):
    """A message was pinned or unpinned."""

    room_id: str
    seq: int
    message_id: int
    user_id: str
    pinned: bool
    at: str


class Reaction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The users who added an emoji to a message, in order: their number, and the first of them.

    `mine` says whether the reader is one of all of them, also of those whom `userIds` leaves out.
    """

    emoji: str
    count: int
    user_ids: tuple[str, ...]
    mine: bool


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message in a page of history; a deleted one keeps its place, without content and reactions."""

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


class PinnedMessage(Message, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pinned message, with the seq, the author and the time of its pin."""

    pin_seq: int
    pinned_by: str
    pinned_at: str


class History(Outgoing, frozen=True, kw_only=True, tag="message:history"):
    """A page of messages, oldest first."""

    room_id: str
    messages: list[Message]
    has_more: bool


class MemberEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A member in a list; `lastSeen` is null while online and if unknown; `muted` is present only if true."""

    user_id: str
    name: str
    role: Role
    status: str
    last_seen: str | None
    muted: bool | UnsetType = UNSET
    muted_until: str | UnsetType = UNSET


class InvitedEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A user who may join a room, and the author of the invitation."""

    user_id: str
    name: str
    by: str


class Members(Outgoing, frozen=True, kw_only=True, tag="room:members"):
    """A page of members, by user id; the first one has the first 200 users whose invitation is open, if any."""

    room_id: str
    members: list[MemberEntry]
    has_more: bool
    invited: tuple[InvitedEntry, ...] | UnsetType = UNSET


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far one user has read."""

    user_id: str
    message_id: int
    at: str


class Receipts(Outgoing, frozen=True, kw_only=True, tag="room:receipts"):
    """How far each member has read."""

    room_id: str
    receipts: list[Receipt]


class MessageReadBy(Outgoing, frozen=True, kw_only=True, tag="message:read"):
    """A read marker moved. Not part of the room's order, so without `seq`."""

    room_id: str
    user_id: str
    message_id: int
    at: str


class UnreadFrom(Outgoing, frozen=True, kw_only=True, tag="message:unread"):
    """The user's own unread count now begins after `lastRead`; sent to the user's own connections only.

    It also follows `room:receipts` if the user has marked messages as unread. Of several, and of the user's own
    `message:read`, the one with the latest `at` counts; `room:list` has the counts. Not part of the room's order, so
    without `seq`.
    """

    room_id: str
    last_read: int
    at: str


class ContentRemoved(Outgoing, frozen=True, kw_only=True, tag="room:content_removed"):
    """Content of the room became unreadable: its retention is over, or its author `userId` was erased.

    Not part of the room's order, so without `seq`. What `room:list` answered before may count messages that are gone.
    """

    room_id: str
    reason: Literal["expired", "erased"]
    user_id: str | UnsetType = UNSET


class PresenceChanged(Outgoing, frozen=True, kw_only=True, tag="presence:changed"):
    """The presence of a user who shares a room changed; `lastSeen` is null unless the user is offline."""

    user_id: str
    status: Literal["online", "away", "offline"]
    last_seen: str | None


class UserBlocked(Outgoing, frozen=True, kw_only=True, tag="user:blocked"):
    """The user blocked another user, or ended the block; sent to the user's own connections only."""

    user_id: str
    blocked: bool


class TypingStarted(Outgoing, frozen=True, kw_only=True, tag="typing:start"):
    """A user is typing."""

    room_id: str
    user_id: str


class TypingStopped(Outgoing, frozen=True, kw_only=True, tag="typing:stop"):
    """A user is typing no more."""

    room_id: str
    user_id: str


class RoomHead(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The state of one room in `connected`."""

    recovered: bool
    head: int | None = None
    reason: str | None = None


class Connected(Outgoing, frozen=True, kw_only=True, tag="connected"):
    """The answer to `connect`."""

    protocol: int
    user_id: str
    session: str
    epoch: str
    expires_at: str
    ping_interval: float
    ping_timeout: float
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
    """A room in `room:list` to which the user is invited."""

    room_id: str
    name: str
    visibility: Visibility
    by: str
    at: str


class PublicRoom(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A room in `room:directory`; `members` is their number."""

    room_id: str
    name: str
    topic: str | None
    members: int


@lru_cache(maxsize=1_024)
def timestamp(at: datetime) -> str:
    """Return a time as RFC 3339 text in UTC with microseconds; all events and acks of a commit have one."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
