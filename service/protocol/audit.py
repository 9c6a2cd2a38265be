"""Requests and answers of the audit: events, what a person could see, and who read the record.

Those about a room as of a moment are in `room_as_of`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.domain.events import EVENTS, Visibility
from service.protocol.commands import MAX_SEQ, RoomId, Seq, UserId
from service.protocol.http import Query
from service.protocol.room_as_of import Act, MomentText, Shown, Standing, Standpoint, TimeText

TypeName = Annotated[
    str,
    Meta(
        description="The type of an event, as lines of `/audit/events` have it.",
        extra_json_schema={"enum": sorted(event.__name__ for event in EVENTS.values())},
    ),
]


class PersonViewQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One person and a room, as of a moment: the seq of one of its events, a day or a time; all inclusive."""

    user_id: UserId
    room: RoomId
    at: MomentText | None = None


class PersonRoomsQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One person and all rooms, as of a day or a time; both inclusive."""

    user_id: UserId
    at: TimeText | None = None


class Stretch(Shown, frozen=True, kw_only=True, rename="camel"):
    """Events of a room, by their numbers; both ends included."""

    first: int
    last: int


class SessionThen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A connection at a moment, and the events of the room that were `written` to it.

    `written` is null if they are not known: the connection was `open` then, or its node died (`unknown`). A connection
    is `merged` if it was written too many disjoint ranges to keep: `written` includes events that were not written to
    it, and `at_least` is how many of the room's events certainly were. `sessions` is the number of connections of under
    a second that the record stands for, if it stands for several. `client` is how the client described itself, absent
    once erased; `reason` and `code` say how the connection ended.
    """

    session: str
    node: str
    address: str | None = None
    client: str | None = None
    opened_at: str
    closed_at: str | None = None
    reason: str | None = None
    code: int | None = None
    state: Literal["open", "closed", "merged", "unknown"]
    written: tuple[Stretch, ...] | None
    at_least: int | None = None
    sessions: int | None = None


class PersonView(Standpoint, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a person could see of a room up to its event `seq`, what was written to their connections, what they read.

    `visible` is true if the person could know of the room; `readable` has the events that they could read. `written`
    has the events that were certainly written to a connection, `perhaps_written` those that only a `merged` connection
    may have been written; `unknown` counts the connections for which neither is known. `standing` includes the read
    marker. With `since`, the first moment of a day, `visible` and `readable` cover every moment of that day.
    `erasure` is present if the person had been erased by that moment. `sessions` lists the connections that were sent
    events of the room, or may have been; `silent` counts those that were sent none.
    """

    user_id: str
    room_id: str
    erasure: Act | None = None
    since: str | None = None
    visible: bool
    readable: tuple[Stretch, ...]
    standing: Standing | None
    written: tuple[Stretch, ...]
    perhaps_written: tuple[Stretch, ...] = ()
    unknown: int
    silent: int = 0
    sessions: tuple[SessionThen, ...]


class RoomSeen(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a person could see of one of their rooms up to its event `seq`; the fields are those of `PersonView`."""

    room_id: str
    name: str
    visibility: Visibility
    seq: int
    visible: bool
    readable: tuple[Stretch, ...]
    standing: Standing | None
    written: tuple[Stretch, ...] = ()
    perhaps_written: tuple[Stretch, ...] = ()


class PersonRooms(Shown, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a person could see of every room that they had to do with by a moment, by room id.

    These are the rooms with an event about the person: that they joined, were invited, left, were banned. `since` and
    `erasure` are as in `PersonView`, `name` is their display name at the moment. `unknown` counts the connections that
    were still open then, or whose node died: what was written to them in any room is not known.
    """

    user_id: str
    name: str | None = None
    erasure: Act | None = None
    since: str | None = None
    at: str
    unknown: int
    rooms: list[RoomSeen]


class EventsQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The log after a position, filtered: of one room, by or about one person, of one type, in a range of times.

    With `follow` the answer continues with new events.
    """

    after: Seq = 0
    room: RoomId | None = None
    person: UserId | None = None
    type: TypeName | None = None
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
    """A page of readings, from the newest back; `before` is the first number of the page after it in time."""

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
