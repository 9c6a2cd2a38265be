"""The audit's requests and answers besides rooms as of a moment: events, views of people, and who reads the record."""

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
    """A connection at a moment, and what was `written` to it of the room; null if that is unknown.

    It is unknown for a connection that was `open` then, and for one whose node died, which is `unknown`.
    """

    session: str
    node: str
    opened_at: str
    closed_at: str | None = None
    state: Literal["open", "closed", "unknown"]
    written: tuple[Stretch, ...] | None


class PersonView(Standpoint, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a person could see of a room by its event `seq`, what was written to their connections, what they had read.

    `visible` tells whether the room existed for the person, `readable` what of it they could read. `written` is what
    certainly reached a connection, and `unknown` counts the connections of which that is unknown. `standing` has the
    read marker.
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
    """The log after a position, filtered: of one room, by or about one person, of one type, in a range of times.

    With `follow` the answer continues with new events.
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

    `erased` means that personal text in it can no longer be read; those fields are null. `unreadable` is the reason why
    damaged text cannot be read. An event whose state is damaged has the type `Unreadable`, with `topic`, `subject` and
    `reason`.
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

    `of` is `person` for readings about people in the room, which only auditors are shown.
    """

    number: int
    at: str
    by: str
    via: Literal["http", "cli"]
    what: str
    of: Literal["room", "person", "everything"]


class Readings(Shown, frozen=True, kw_only=True, rename="camel"):
    """A page of readings that covered a room, the oldest first."""

    readings: tuple[Reading, ...]
    has_more: bool
