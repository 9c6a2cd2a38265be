"""What auditors read over HTTP, and what owners are shown of that.

The rule: a reading is on the record before anything is looked up for it, under the name of the token's user; and
nothing here writes anything else.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from service.audit.history.as_of import AsOf
from service.audit.history.event_stream import Stream, Wanted
from service.audit.history.person_view import PersonViews
from service.domain.events import EVENTS, AuditRead, Recorded
from service.domain.permissions import require_role
from service.domain.room import RoomState, require_member
from service.domain.streams import AUDIT, EVERYTHING, room_subject
from service.errors import NotAllowed, Overloaded
from service.eventstore.as_of_reader import EventFilter
from service.gateway.auth.tokens import AUDITOR
from service.gateway.http.endpoint import NDJSON, BadParameter, Caller, Pieces, Read
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.protocol.audit import (
    EventLine,
    EventsQuery,
    PersonView,
    PersonViewQuery,
    Reading,
    Readings,
    ReadingsQuery,
)
from service.protocol.events import timestamp
from service.protocol.http import Query
from service.protocol.room_as_of import (
    Moment,
    NoMoment,
    RoomChanges,
    RoomChangesQuery,
    RoomThen,
    RoomThenQuery,
    moment_of,
)

MOST_AT_ONCE = 16
"""Readings that a node sends at once; whoever comes then is told to come back, and nothing is recorded."""

TOPICS = {cls.__name__: topic for topic, cls in EVENTS.items()}
"""The stored name of each event, by the name that a line shows."""


class Audits:
    """The reads, over a node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._sending = 0

    async def room_then(self, visitor: Caller, query: RoomThenQuery) -> Pieces:
        """Show a room as it stood at a moment, without `at` now: settings, people, and messages as they read then."""
        moment = _moment("at", query.at)
        await self._record(visitor, "room", query, room=query.room_id)
        return self._sent(await AsOf(self._s.past).room(query.room_id, moment))

    async def room_changes(self, visitor: Caller, query: RoomChangesQuery) -> Pieces:
        """Show what is different in a room between two moments, without `to` now."""
        begin, end = _moment("from", query.from_), _moment("to", query.to)
        await self._record(visitor, "changes", query, room=query.room_id)
        return self._sent(await AsOf(self._s.past).changes(query.room_id, begin, end))

    async def person_view(self, visitor: Caller, query: PersonViewQuery) -> PersonView:
        """Show what somebody could see of a room by a moment, what was written to them, and what they had read."""
        moment = _moment("at", query.at)
        await self._record(visitor, "view", query, room=query.room, person=query.user_id)
        return await PersonViews(self._s.past).view(query.user_id, query.room, moment)

    async def events(self, visitor: Caller, query: EventsQuery) -> Pieces:
        """Stream the log, an event a line, by position; with `follow` until the token expires."""
        wanted = _wanted(query)
        end = await self._s.past.position()
        await self._record(visitor, "events", query, room=query.room, person=query.person)
        stream = Stream(self._s.past, self._s.bell, self._s.settings.catchup_interval)
        lines = stream.follow(wanted, self._over(visitor)) if query.follow else stream.lines(wanted, end)
        return self._sent(lines)

    async def readings(self, visitor: Caller, query: ReadingsQuery) -> Readings:
        """Show an owner when the record of their room was read, and by whom, where the policy is to show it."""
        if not self._s.settings.show_readings:
            raise NotAllowed(problem="Here it is not shown who reads the record.")
        await Views(self._s).ask(_require_owner, query.room_id, visitor.user)
        found = await self._about_room(query.room_id, query.before, query.limit + 1)
        await Views(self._s).ask(_require_owner, query.room_id, visitor.user)  # the log was waited for
        page = tuple(map(_reading, found[-query.limit :]))
        return Readings(readings=page, has_more=len(found) > query.limit)

    async def _about_room(self, room: str, before: int | None, limit: int) -> list[Recorded]:
        """Return the newest readings of a room or of everything before a number, oldest first.

        None that names a person is among them, of the room or not. A room cannot be shown those: its owner takes in
        anyone, without their consent, and would learn of every inquiry into them.
        """
        kept: list[Recorded] = []
        subjects = [room_subject(room), EVERYTHING]
        while len(kept) < limit:
            found = await self._s.past.newest_about(AUDIT, subjects, before, limit)
            kept = [one for one in found if cast("AuditRead", one.event).person is None] + kept
            if len(found) < limit:
                break
            before = found[0].seq
        return kept[-limit:]

    async def _record(
        self, visitor: Caller, what: str, query: Query, *, room: str | None = None, person: str | None = None
    ) -> None:
        if self._sending >= MOST_AT_ONCE:
            raise Overloaded
        names = zip(query.__struct_fields__, query.__struct_encode_fields__, strict=True)
        given = {shown: getattr(query, name) for name, shown in names}
        asked = {
            shown: "true" if value is True else str(value)
            for shown, value in given.items()
            if value and shown not in ("roomId", "userId", "room", "person")
        }
        reading = AuditRead(what=what, via="http", room=room, person=person, asked=asked)
        await self._s.register.record(reading, visitor.user)

    async def _sent(self, pieces: Pieces) -> Pieces:
        self._sending += 1
        try:
            async for piece in pieces:
                yield piece
        finally:
            self._sending -= 1

    def _over(self, visitor: Caller) -> Callable[[], bool]:
        """Return what tells whether somebody may hear no more, or the node is stopping."""

        def over() -> bool:
            standing = self._s.people.standing(visitor.user)
            gone = standing.erased or standing.suspended
            return gone or not self._s.readiness.ready or datetime.now(UTC) >= visitor.expires_at

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
    require_role(state, user, "owner")


def _moment(name: str, text: str | None) -> Moment:
    try:
        return moment_of(text)
    except NoMoment as problem:
        raise BadParameter(problem=str(problem), parameter=name) from problem


def _time(name: str, text: str | None) -> datetime | None:
    moment = _moment(name, text)
    assert not isinstance(moment, int)  # noqa: S101 - the parameter's pattern admits times alone
    return moment


def _wanted(query: EventsQuery) -> Wanted:
    if query.type is not None and query.type not in TOPICS:
        raise BadParameter(problem=f"There is no event {query.type}.", parameter="type")
    if query.follow and query.to is not None:
        raise BadParameter(problem="What is followed has no end.", parameter="to")
    which = EventFilter(TOPICS[query.type] if query.type else None, query.person)
    since, until = _time("from", query.from_), _time("to", query.to)
    return Wanted(after=query.after, since=since, until=until, room=query.room, which=which)


_IN_A_ROOM = ("room_not_found",)
AUDITS = (
    Read("/audit/events", EventsQuery, EventLine, Audits.events, scope=AUDITOR, media=NDJSON),
    Read("/audit/rooms/{roomId}", RoomThenQuery, RoomThen, Audits.room_then, _IN_A_ROOM, AUDITOR),
    Read(
        "/audit/rooms/{roomId}/changes",
        RoomChangesQuery,
        RoomChanges,
        Audits.room_changes,
        _IN_A_ROOM,
        AUDITOR,
    ),
    Read("/audit/people/{userId}/view", PersonViewQuery, PersonView, Audits.person_view, _IN_A_ROOM, AUDITOR),
    Read(
        "/api/rooms/{roomId}/readings",
        ReadingsQuery,
        Readings,
        Audits.readings,
        ("room_not_found", "not_a_member", "banned"),
    ),
)
"""Every read."""
