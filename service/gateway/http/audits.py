"""The auditors' reads of the log over HTTP, and the list of such reads that a room's owner may see.

Invariant: a read is recorded with the token's user as its author before its answer is looked up. Nothing else is
written here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from service.audit.access_log import AccessLog
from service.audit.history.as_of import AsOf
from service.audit.history.event_selection import can_concern_a_room
from service.audit.history.event_stream import Selection, Stream
from service.audit.history.existence import WrongMoment, require_event, require_known, require_reached
from service.audit.history.person_view import PersonViews
from service.domain.events import EVENTS, AuditRead, Recorded
from service.domain.permissions import require_role
from service.domain.room import RoomState, require_member
from service.domain.streams import AUDIT, EVERYTHING, room_subject
from service.errors import NotAllowed, Overloaded
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.event_queries import EventFilter
from service.eventstore.readiness import Readiness
from service.gateway.auth.claims import AUDITOR
from service.gateway.http.endpoint import NDJSON, Caller, Chunks, Read
from service.gateway.http.request import BadParameter
from service.gateway.queries.views import Views
from service.protocol.audit import (
    EventLine,
    EventsQuery,
    PersonRooms,
    PersonRoomsQuery,
    PersonView,
    PersonViewQuery,
    Reading,
    Readings,
    ReadingsQuery,
)
from service.protocol.events import timestamp
from service.protocol.forms import shown
from service.protocol.http import Query
from service.protocol.room_as_of import (
    Moment,
    NoMoment,
    Part,
    RoomChanges,
    RoomChangesQuery,
    RoomThen,
    RoomThenQuery,
    day_of,
    moment_of,
    time_of,
)
from service.realtime.user_cache import UserCache

MAX_READS = 16
"""Concurrent streamed answers of a node; one more read is refused with a retryable error, and is not recorded."""

TOPICS = {cls.__name__: topic for topic, cls in EVENTS.items()}
"""The stored topic of each event, by the name in a line."""


@dataclass(kw_only=True)
class Audits:
    """The reads; `show_readings` lets owners see when the record of their room was read."""

    reader: AsOfReader
    stream: Stream
    access_log: AccessLog
    views: Views
    people: UserCache
    readiness: Readiness
    show_readings: bool
    _sending: int = field(default=0, init=False)

    async def room_then(self, caller: Caller, query: RoomThenQuery) -> Chunks:
        """Show a room at a moment, by default now: settings, people, and messages as they read then."""
        moment = _moment("at", query.at)
        await self._record(caller, "room", query, room=query.room_id)
        await self._require_reached("at", moment, query.room_id)
        return self._sent(await AsOf(self.reader).room(query.room_id, moment))

    async def room_changes(self, caller: Caller, query: RoomChangesQuery) -> Chunks:
        """Show the difference in a room between two moments; `to` is now by default."""
        begin, end = _moment("from", query.from_, "before"), _moment("to", query.to)
        await self._record(caller, "changes", query, room=query.room_id)
        await self._require_reached("from", begin, query.room_id)
        await self._require_reached("to", end, query.room_id)
        with _as_parameter("to"):
            return self._sent(await AsOf(self.reader).changes(query.room_id, begin, end))

    async def person_view(self, caller: Caller, query: PersonViewQuery) -> PersonView:
        """Show what a person could see of a room at a moment, what was sent to them, and what they had read."""
        moment = _moment("at", query.at)
        await self._record(caller, "view", query, room=query.room, person=query.user_id)
        await self._require_reached("at", moment, query.room)
        return await PersonViews(self.reader).view(query.user_id, query.room, moment, day_of(query.at))

    async def person_rooms(self, caller: Caller, query: PersonRoomsQuery) -> Chunks:
        """Show what a person could see of every room that they had to do with, at a moment, by default now."""
        time = _time("at", query.at, "end")
        await self._record(caller, "view", query, person=query.user_id)
        await self._require_reached("at", time)
        return self._sent(await PersonViews(self.reader).rooms(query.user_id, time, day_of(query.at)))

    async def events(self, caller: Caller, query: EventsQuery) -> Chunks:
        """Stream the log, an event a line, by position; with `follow` until the token expires."""
        wanted = _wanted(query)
        end = await self.reader.position()
        await self._record(caller, "events", query, room=query.room, person=query.person)
        await require_known(self.reader, room=query.room, person=query.person)
        if query.follow:
            return self._sent(self.stream.follow(wanted, self._over(caller)))
        return self._sent(self.stream.lines(wanted, end))

    async def readings(self, caller: Caller, query: ReadingsQuery) -> Readings:
        """Show an owner when the record of their room was read, and by which auditor, if the policy allows it."""
        if not self.show_readings:
            raise NotAllowed(problem="This installation does not show who reads the record.")
        await self.views.ask(_require_owner, query.room_id, caller.user)
        found = await self._about_room(query.room_id, query.before, query.limit + 1)
        await self.views.ask(_require_owner, query.room_id, caller.user)  # may have changed during the query
        page = tuple(map(_reading, found[-query.limit :]))
        return Readings(readings=page, has_more=len(found) > query.limit)

    async def _about_room(self, room: str, before: int | None, limit: int) -> list[Recorded]:
        """Return the newest reads of a room or of everything, before a number, oldest first.

        Reads that name a person are left out. An owner may add anyone to a room without consent, and would otherwise
        see every inquiry into that person.
        """
        kept: list[Recorded] = []
        subjects = [room_subject(room), EVERYTHING]
        while len(kept) < limit:
            found = await self.reader.newest_about(AUDIT, subjects, before, limit)
            kept = [recorded for recorded in found if cast("AuditRead", recorded.event).person is None] + kept
            if len(found) < limit:
                break
            before = found[0].seq
        return kept[-limit:]

    async def _record(
        self, caller: Caller, kind: str, query: Query, *, room: str | None = None, person: str | None = None
    ) -> None:
        if self._sending >= MAX_READS:
            raise Overloaded
        names = zip(query.__struct_fields__, query.__struct_encode_fields__, strict=True)
        values = {encoded: getattr(query, name) for name, encoded in names}
        asked = {
            encoded: "true" if value is True else str(value)
            for encoded, value in values.items()
            if value and encoded not in ("roomId", "userId", "room", "person")
        }
        reading = AuditRead(what=kind, via="http", room=room, person=person, asked=asked)
        await self.access_log.record(reading, caller.user)

    async def _require_reached(self, parameter: str, moment: Moment, room: str | None = None) -> None:
        with _as_parameter(parameter):
            await require_reached(self.reader, moment)
            if room is not None:
                await require_event(self.reader, room, moment)

    async def _sent(self, chunks: Chunks) -> Chunks:
        self._sending += 1
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            self._sending -= 1

    def _over(self, caller: Caller) -> Callable[[], bool]:
        """Return a test of whether a stream has to end: the account or the token is invalid, or the node stops."""

        def over() -> bool:
            account = self.people.account(caller.user)
            invalid = account.erased or account.suspended or datetime.now(UTC) >= caller.expires_at
            return invalid or not self.readiness.ready

        return over


def _reading(recorded: Recorded) -> Reading:
    event = cast("AuditRead", recorded.event)
    return Reading(
        number=recorded.seq,
        at=timestamp(recorded.at),
        by=recorded.by,
        via=event.via,
        what=event.what,
        of="room" if event.room else "everything",
    )


def _require_owner(state: RoomState, user: str, at: datetime) -> None:
    require_member(state, user, at)
    require_role(state, user, "owner", "see who read a room's record")


@contextmanager
def _as_parameter(name: str) -> Iterator[None]:
    """Report a moment that cannot be answered as a wrong parameter."""
    try:
        yield
    except WrongMoment as problem:
        raise BadParameter(problem=str(problem), parameter=name) from problem


def _moment(name: str, text: str | None, day: Part = "end") -> Moment:
    try:
        return moment_of(text, day)
    except NoMoment as problem:
        raise BadParameter(problem=str(problem), parameter=name) from problem


def _time(name: str, text: str | None, day: Part) -> datetime | None:
    try:
        return time_of(text, day) if text is not None else None
    except NoMoment as problem:
        raise BadParameter(problem=str(problem), parameter=name) from problem


def _wanted(query: EventsQuery) -> Selection:
    if query.type is not None and query.type not in TOPICS:
        known = ", ".join(sorted(TOPICS))
        problem = f"There is no event type '{shown(query.type)}'. The types are: {known}."
        raise BadParameter(problem=problem, parameter="type")
    if query.follow and query.to is not None:
        raise BadParameter(problem="A stream that is followed has no end; leave out `to`.", parameter="to")
    topic = TOPICS[query.type] if query.type else None
    if topic and query.room is not None and not can_concern_a_room(topic):
        problem = f"An event of the type {query.type} concerns no room; leave out `room`."
        raise BadParameter(problem=problem, parameter="room")
    which = EventFilter(topic, query.person, query.room, fields=True)
    since, until = _time("from", query.from_, "start"), _time("to", query.to, "end")
    if since is not None and until is not None and since > until:
        raise BadParameter(problem="This range ends before it begins: `from` is after `to`.", parameter="to")
    return Selection(after=query.after, since=since, until=until, which=which)


_IN_A_ROOM = ("room_not_found",)
_OF_A_PERSON = ("room_not_found", "user_not_found")
AUDITS = (
    Read("/audit/events", EventsQuery, EventLine, Audits.events, _OF_A_PERSON, AUDITOR, NDJSON),
    Read("/audit/rooms/{roomId}", RoomThenQuery, RoomThen, Audits.room_then, _IN_A_ROOM, AUDITOR),
    Read(
        "/audit/rooms/{roomId}/changes",
        RoomChangesQuery,
        RoomChanges,
        Audits.room_changes,
        _IN_A_ROOM,
        AUDITOR,
    ),
    Read(
        "/audit/people/{userId}/rooms",
        PersonRoomsQuery,
        PersonRooms,
        Audits.person_rooms,
        ("user_not_found",),
        AUDITOR,
    ),
    Read(
        "/audit/people/{userId}/view", PersonViewQuery, PersonView, Audits.person_view, _OF_A_PERSON, AUDITOR
    ),
    Read(
        "/api/rooms/{roomId}/readings",
        ReadingsQuery,
        Readings,
        Audits.readings,
        ("room_not_found", "not_a_member", "banned"),
    ),
)
"""Every read."""
