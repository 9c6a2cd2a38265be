"""What an auditor asks for and is shown besides rooms as they stood: events, people's views, and who reads all that."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.protocol.commands import MAX_SEQ, RoomId, Seq, UserId
from service.protocol.http import Query
from service.protocol.room_as_of import MomentText, Shown, Standing, Standpoint, TimeText


class PersonViewQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One person and a room, as of a moment: the seq of one of its events, or a time; both inclusive."""

    user_id: UserId
    room: RoomId
    at: MomentText | None = None


class Stretch(Shown, frozen=True, kw_only=True, rename="camel"):
    """Events of a room, by their numbers; both ends included."""

    first: int
    last: int


class SessionThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A connection by a moment, and what was `written` to it of the room; null where that is not known.

    It is not known of one that was `open` then, nor of one whose node died, which is `unknown`.
    """

    session: str
    node: str
    opened_at: str
    closed_at: str | None = None
    state: Literal["open", "closed", "unknown"]
    written: tuple[Stretch, ...] | None


class PersonView(Standpoint, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What somebody could see of a room by its event `seq`, what was written to their connections, what they had read.

    `visible` says whether the room was there for them at all, `readable` what of it they could read. `written` is all
    that certainly reached a connection, and `unknown` counts those of which it is not known. What they had read stands
    in `standing`.
    """

    user_id: str
    room_id: str
    visible: bool
    readable: tuple[Stretch, ...]
    standing: Standing | None
    written: tuple[Stretch, ...]
    unknown: int
    sessions: tuple[SessionThen, ...]


class EventsQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The log after a position: of one room, by or about one person, of one type, from one time to another.

    With `follow` it goes on with what happens.
    """

    after: Seq = 0
    room: RoomId | None = None
    person: UserId | None = None
    type: str | None = None
    from_: TimeText | None = msgspec.field(name="from", default=None)
    to: TimeText | None = None
    follow: bool = False


class EventLine(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An event: its place in the log and in its stream, and beside these the fields of its type.

    `erased` says that words in it cannot be read any more; they are null. `unreadable` says why words that are damaged
    cannot be read. One whose state is damaged is of the type `Unreadable`, with `topic`, `subject` and `reason`.
    """

    position: int
    stream: str
    seq: int
    type: str
    by: str
    at: str
    erased: bool = False
    unreadable: str | None = None


class ReadingsQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A page of readings, the newest; `before` is the first number of the page after it."""

    room_id: RoomId
    before: Annotated[int, Meta(ge=1, le=MAX_SEQ)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class Reading(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The record was read: of this `room` or of `everything`.

    `of` was `person` for readings about people in the room, which only auditors are shown.
    """

    number: int
    at: str
    by: str
    via: Literal["http", "cli"]
    what: str
    of: Literal["room", "person", "everything"]


class Readings(Shown, frozen=True, kw_only=True, rename="camel"):
    """A page of readings that a room was part of, the oldest first."""

    readings: tuple[Reading, ...]
    has_more: bool
