"""A room as of a moment, as an auditor requests and receives it: each a struct, as on the socket.

A moment is the seq of a room's event, a time or a day in UTC, all inclusive; none means now. In a document
with a long list the list is its last field, so that it can be sent while it is being read (`service.audit.history`).
"""

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.domain.events import Role, Visibility
from service.protocol.commands import RoomId
from service.protocol.forms import shown
from service.protocol.http import Query

SEQ, DAY = r"[1-9][0-9]{0,15}", r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = rf"{DAY}(T.+)?"
MOMENT_FORM = (
    "a day in UTC such as 2026-11-24, a time with its offset such as 2026-11-24T15:00:00Z, or the seq of an event, "
    "which counts from 1"
)
TIME_FORM = "a day in UTC such as 2026-11-24, or a time with its offset such as 2026-11-24T15:00:00Z"


def _text(form: str, description: str) -> Meta:
    """Describe a text that `moment_of` checks, since its errors explain more than a pattern."""
    return Meta(description=description, extra_json_schema={"pattern": f"^({form})$"})


MomentText = Annotated[
    str,
    _text(f"{SEQ}|{TIME}", "The seq of an event of the room, a day (all of it, UTC), or a time, RFC 3339."),
]
TimeText = Annotated[str, _text(TIME, "A day (all of it, UTC), or a time, RFC 3339.")]

Moment = int | datetime | None
Part = Literal["before", "start", "end"]
"""The moment that a day stands for: the last before it, its first or its last."""


_FIRST = datetime.min.replace(tzinfo=UTC)


class NoMoment(ValueError):
    """A text is not a moment; the message is a sentence."""


def moment_of(text: str | None, day: Part = "end") -> Moment:
    """Return the moment that a text names, None if the text is None; `day` is the part of a day without a time.

    Raises:
        NoMoment: the text is neither a seq nor a day nor a time with its offset.
    """
    if text is None:
        return None
    if re.fullmatch(SEQ, text):
        return int(text)
    if (time := _time(text, day)) is None:
        raise NoMoment(f"'{shown(text)}' is not a moment: give {MOMENT_FORM}.")
    return time


def time_of(text: str, day: Part = "end") -> datetime:
    """Return the time that a text names; `day` is the part of a day without a time.

    Raises:
        NoMoment: the text is neither a day nor a time with its offset.
    """
    if (time := _time(text, day)) is None:
        raise NoMoment(f"'{shown(text)}' is not a time: give {TIME_FORM}.")
    return time


def day_of(text: str | None) -> datetime | None:
    """Return the first moment of a day; None if the text is not a day."""
    return _time(text, "start") if text is not None and re.fullmatch(DAY, text) else None


def _time(text: str, day: Part) -> datetime | None:
    with contextlib.suppress(ValueError, OverflowError):  # the latter at the ends of the calendar
        if re.fullmatch(DAY, text):
            start = datetime.fromisoformat(text).replace(tzinfo=UTC)
            last = start.replace(hour=23, minute=59, second=59, microsecond=999_999)
            if day == "before" and start > _FIRST:
                return start - timedelta.resolution
            return last if day == "end" else start
        if (time := datetime.fromisoformat(text)).tzinfo is not None:
            return time.astimezone(UTC)
    return None


class RoomThenQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A room as of a moment: the seq of one of its events, a day or a time; all inclusive."""

    room_id: RoomId
    at: MomentText | None = None


class RoomChangesQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The changes of a room between two moments: each the seq of one of its events, a day or a time.

    A day is included whole: `from` is the state before it, `to` the state after it.
    """

    room_id: RoomId
    from_: MomentText = msgspec.field(name="from")
    to: MomentText | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the record. A field that does not apply is absent."""


How = Literal["left", "removed", "banned", "erased"]


class Act(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who did something, when, and the position of its event in the log. Commands of operators are by `os:NAME`."""

    by: str
    at: str
    position: int


class Ending(Act, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The end of a membership: the person `left`, was `removed` or `banned`, or was `erased` and so left all rooms."""

    how: How


class Standing(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A person's relation to a room at a moment.

    `name` is the display name at that moment, unless it has been erased since (`nameErased`) or cannot be read
    (`nameUnreadable`). Members have a `role`; `since` is the seq of the join, at `sinceAt`, and `roleSince` that of the
    event that gave the role, at `roleSinceAt`. Of a former member `left` is the seq of the event that ended the
    membership, however it ended, and `ended` says how. A ban or a mute without its `...Until` was for good; `ban` and
    `mute` say by whom. `lastRead` is the last message they had read. `erasure` is present if the person had been erased
    by that moment.
    """

    user_id: str
    name: str | None = None
    name_erased: bool = False
    name_unreadable: bool = False
    role: Role | None = None
    since: int | None = None
    since_at: str | None = None
    role_since: int | None = None
    role_since_at: str | None = None
    left: int | None = None
    ended: Ending | None = None
    invited: bool = False
    banned: bool = False
    banned_until: str | None = None
    ban: Act | None = None
    muted: bool = False
    muted_until: str | None = None
    mute: Act | None = None
    last_read: int | None = None
    last_read_at: str | None = None
    erasure: Act | None = None


class ReactionThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An emoji on a message, and the users who added it, in order."""

    emoji: str
    user_ids: tuple[str, ...]


class MessageThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message as it read at a moment.

    `content` is null if the message was deleted by then, has been `erased` since, or is damaged (`unreadable`).
    `deletionReason` is absent if whoever deleted the message gave none, or was erased since.
    """

    message_id: int
    user_id: str
    at: str
    content: str | None
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    edited_at: str | None = None
    deleted_at: str | None = None
    deleted_by: str | None = None
    deletion_reason: str | None = None
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
