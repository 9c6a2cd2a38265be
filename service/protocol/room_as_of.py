"""A room as of a moment, as an auditor requests and receives it: each a struct, as on the socket.

A moment is the seq of a room's event or a time, both inclusive; none means now. In a document with a long list the
list is its last field, so that it can be sent while it is being read (`service.audit.history`).
"""

import contextlib
import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from service.domain.events import Role, Visibility
from service.protocol.commands import RoomId
from service.protocol.forms import Form, form, shown
from service.protocol.http import Query

SEQ, TIME = r"[1-9][0-9]{0,15}", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T.+"
MomentText = Annotated[
    str,
    form(
        rf"\A({SEQ}|{TIME})\Z",
        Form("a moment", "the seq of an event, from 1, or a time, RFC 3339", "2026-11-24T15:00:00Z"),
        description="The seq of an event of the room, or a time, RFC 3339.",
    ),
]
TimeText = Annotated[
    str,
    form(
        rf"\A{TIME}\Z",
        Form("a time", "a date, a time and its offset, RFC 3339", "2026-11-24T15:00:00Z"),
        description="A time, RFC 3339.",
    ),
]

Moment = int | datetime | None


class NoMoment(ValueError):
    """A text is neither a seq nor a time; the message is a sentence."""


def moment_of(text: str | None) -> Moment:
    """Return the moment that a text names, None if the text is None.

    Raises:
        NoMoment: the text is neither a seq nor a time with its offset.
    """
    if text is None:
        return None
    if re.fullmatch(SEQ, text):
        return int(text)
    with contextlib.suppress(ValueError, OverflowError):  # the latter at the ends of the calendar
        if (time := datetime.fromisoformat(text)).tzinfo is not None:
            return time.astimezone(UTC)
    raise NoMoment(
        f"'{shown(text)}' is neither a seq, which count from 1, nor a time such as 2026-11-24T15:00:00Z."
    )


class RoomThenQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A room as of a moment: the seq of one of its events, or a time; both inclusive."""

    room_id: RoomId
    at: MomentText | None = None


class RoomChangesQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The changes of a room between two moments, each the seq of one of its events or a time."""

    room_id: RoomId
    from_: MomentText = msgspec.field(name="from")
    to: MomentText | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the record. A field that does not apply is absent."""


class Standing(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A person's relation to a room at a moment.

    `name` is the display name at that moment, unless it has been erased since (`nameErased`) or cannot be read
    (`nameUnreadable`). `role` and `since`, the seq of the join, are present for members; `left` is the seq of a former
    member's leave. A ban or a mute without its `...Until` was for good. `lastRead` is the last message they had read.
    """

    user_id: str
    name: str | None = None
    name_erased: bool = False
    name_unreadable: bool = False
    role: Role | None = None
    since: int | None = None
    left: int | None = None
    invited: bool = False
    banned: bool = False
    banned_until: str | None = None
    muted: bool = False
    muted_until: str | None = None
    last_read: int | None = None
    last_read_at: str | None = None


class ReactionThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An emoji on a message, and the users who added it, in order."""

    emoji: str
    user_ids: tuple[str, ...]


class MessageThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message as it read at a moment.

    `content` is null if the message was deleted by then, has been `erased` since, or is damaged (`unreadable`).
    """

    message_id: int
    user_id: str
    at: str
    content: str | None
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    edited_at: str | None = None
    deleted_at: str | None = None
    reactions: tuple[ReactionThen, ...] = ()
    pinned: bool = False
    erased: bool = False
    unreadable: bool = False


class Standpoint(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The last event of a room up to a moment; `seq` 0: the room did not exist.

    `unreadable` has the seqs of earlier events about the room and its people whose state cannot be decoded. The answer
    uses only the envelopes of these events.
    """

    seq: int
    at: str | None = None
    unreadable: tuple[int, ...] = ()


class SettingsThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The settings of a room at a moment; `retention` is the number of days after which its messages become unreadable.

    Without a `topic` there was none, or it has been erased since (`topicErased`), or it is damaged (`topicUnreadable`).
    """

    name: str
    visibility: Visibility
    topic: str | None = None
    topic_erased: bool = False
    topic_unreadable: bool = False
    archived: bool = False
    retention: int | None = None


class RoomThen(Standpoint, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A room after its event `seq`, which happened at `at`; people by user id, messages by number."""

    room_id: str
    opened_at: str
    opened_by: str
    settings: SettingsThen
    members: tuple[Standing, ...]
    others: tuple[Standing, ...]
    messages: list[MessageThen]


class SettingsChange(Shown, frozen=True, kw_only=True, rename="camel"):
    """A room's settings before and after; null before it was created."""

    before: SettingsThen | None
    after: SettingsThen | None


class StandingChange(Shown, frozen=True, kw_only=True, rename="camel"):
    """A person's relation to a room before and after; null if there was none."""

    user_id: str
    before: Standing | None
    after: Standing | None


class MessageChange(Shown, frozen=True, kw_only=True, rename="camel"):
    """A message before and after; null before it was posted."""

    message_id: int
    before: MessageThen | None
    after: MessageThen | None


class RoomChanges(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The differences of a room between two moments; a change that was undone in between is not shown."""

    room_id: str
    from_: Standpoint = msgspec.field(name="from")
    to: Standpoint
    settings: SettingsChange | None = None
    people: tuple[StandingChange, ...]
    messages: list[MessageChange]
