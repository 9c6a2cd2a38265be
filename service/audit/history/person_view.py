"""Reports what one person could see of rooms by a moment, what their connections were sent, and what they had read.

What a person could see follows from the room's rules. The ranges of seqs sent to a connection are recorded when it
closes. If it was still open at the moment, or its node died, they are unknown and reported as unknown.

A day is a moment with a `since`: the person could see what they could see at any moment from `since` on.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from service.audit.history import snapshot
from service.audit.history.as_of import AsOf, RoomAsOf, Writer, json_pieces
from service.audit.history.existence import require_known
from service.audit.history.names import Names
from service.domain.events import ReadMarkerMoved, Recorded, SessionClosed, SessionOpened
from service.domain.room import RoomState, evolve, readable_until
from service.domain.streams import reader_stream, room_of, room_stream, session_stream
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.audit import PersonRooms, PersonView, RoomSeen, SessionThen, Stretch
from service.protocol.events import timestamp
from service.protocol.room_as_of import Moment
from service.runtime.ranges import union

PAGE = 500
"""Session events per read."""

ROOMS = 20
"""Rooms per piece of an answer about all rooms."""


class PersonViews:
    """Reads rooms from the point of view of one person."""

    def __init__(self, reader: AsOfReader, write: Writer = json_pieces) -> None:
        self._reader = reader
        self._rooms = AsOf(reader)
        self._write = write

    async def view(self, user: str, room: str, moment: Moment, since: datetime | None = None) -> PersonView:
        """Return what a person could see, was sent and had read of a room by a moment; `Raises` as `named_view`."""
        return (await self.named_view(user, room, moment, since))[0]

    async def named_view(
        self, user: str, room: str, moment: Moment, since: datetime | None = None
    ) -> tuple[PersonView, Mapping[str, str]]:
        """Return `view`, and the names that people of the room had at that moment, by user id.

        Raises:
            RoomNotFound: the room did not exist at that moment.
            PersonUnknown: the record has nothing of the person.
            Unavailable: the log cannot be read.
        """
        await require_known(self._reader, room=room, person=user)
        found = await self._rooms.at(room, moment)
        if not found.state.exists:
            raise await self._rooms.missing(found)
        sessions, silent = await self._sessions(user, room, found)
        events = await self._reader.about_member(room, user, found.state.head)
        visible, readable = _seen(found.state, events, user, found.at, since)
        people = snapshot.fold_people(await self._reader.last_of_each_topic([user], found.position), [])
        view = PersonView(
            user_id=user,
            room_id=room,
            erasure=people.erasures.get(user),
            since=timestamp(since) if since else None,
            **msgspec.structs.asdict(await self._rooms.standpoint(found)),
            visible=visible,
            readable=readable,
            standing=found.standings.get(user),
            written=_union(session for session in sessions if session.state == "closed"),
            perhaps_written=_union(session for session in sessions if session.state == "merged"),
            unknown=sum(session.written is None for session in sessions),
            silent=silent,
            sessions=sessions,
        )
        own = people.names.get(user)  # also of a person who has nothing to do with the room
        return view, snapshot.names_in(found.standings.values()) | ({user: own} if own else {})

    async def rooms(
        self, user: str, time: datetime | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        """Return a `PersonRooms` in pieces, as of a time or of now.

        Raises:
            PersonUnknown: the record has nothing of the person.
            Unavailable: the log cannot be read.
        """
        await require_known(self._reader, person=user)
        reader = self._reader
        position = await (reader.position_at(time) if time else reader.position())
        at = time or await reader.now()
        people = snapshot.fold_people(await reader.last_of_each_topic([user], position), [])
        sent = await self._sent(user, position)
        document = PersonRooms(
            user_id=user,
            name=people.names.get(user),
            erasure=people.erasures.get(user),
            since=timestamp(since) if since else None,
            at=timestamp(at),
            unknown=sent.unknown,
            rooms=[],
        )
        names: dict[str, str] = {}
        seen = self._rooms_seen(user, _Moment(position, at, since), people, sent)
        return self._write(document, self._with_names(seen, position, names), names)

    async def _with_names(
        self, pages: AsyncIterator[list[RoomSeen]], position: int, names: dict[str, str]
    ) -> AsyncIterator[list[RoomSeen]]:
        """Yield pages of rooms; add the names of those who acted on the person to `names` before each."""
        known = Names(self._reader, position)
        async for page in pages:
            standings = [seen.standing for seen in page if seen.standing]
            acts = [act for each in standings for act in (each.ended, each.ban, each.mute, each.erasure)]
            names |= await known.of(act.by for act in acts if act)
            yield page

    async def _rooms_seen(
        self, user: str, then: "_Moment", people: snapshot.PeopleAsOf, sent: "_Sent"
    ) -> AsyncIterator[list[RoomSeen]]:
        all_rooms = await self._reader.rooms_about(user, then.position)
        for start in range(0, len(all_rooms), ROOMS):
            rooms = all_rooms[start : start + ROOMS]
            streams = [reader_stream(room, user) for room in rooms]
            last = await self._reader.last_of(streams, ReadMarkerMoved.TOPIC, then.position)
            markers = {room_of(each.stream): each for each in last}
            seen = [
                await self._room_seen(room, user, then, people.reading(markers.get(room))) for room in rooms
            ]
            yield [sent.added_to(room) for room in seen if room is not None]

    async def _room_seen(
        self, room: str, user: str, then: "_Moment", people: snapshot.PeopleAsOf
    ) -> RoomSeen | None:
        """Return what the person could see of a room; None if the room's first event is damaged."""
        head = await self._reader.seq_at(room_stream(room), then.position)
        events = await self._reader.about_member(room, user, head)
        state = snapshot.fold_room(room, events, head)
        if not state.exists:
            return None
        visible, readable = _seen(state, events, user, then.at, then.since)
        return RoomSeen(
            room_id=room,
            name=state.name,
            visibility=state.visibility,
            seq=head,
            visible=visible,
            readable=readable,
            standing=snapshot.standings(state, events, people, then.at).get(user),
        )

    async def _sent(self, user: str, position: int) -> "_Sent":
        """Return what was written to the connections of a person in each room, up to a position."""
        written: dict[str, tuple[tuple[int, int], ...]] = {}
        perhaps: dict[str, tuple[tuple[int, int], ...]] = {}
        unknown: set[str] = set()
        seq = 0
        while page := await self._reader.page(session_stream(user), seq, position, PAGE):
            seq = page[-1].seq
            for recorded in page:
                match recorded.event:
                    case SessionOpened(session=session):
                        unknown.add(session)
                    case SessionClosed(session=session, ranges=ranges, at_least=at_least) if (
                        ranges is not None
                    ):
                        unknown.discard(session)
                        for room, own in ranges.items():
                            kept = perhaps if room in at_least else written
                            kept[room] = tuple(union((*kept.get(room, ()), *own)))
                    case _:
                        pass
        return _Sent(written, perhaps, len(unknown))

    async def _sessions(self, user: str, room: str, found: RoomAsOf) -> tuple[tuple[SessionThen, ...], int]:
        """Return the connections that were sent events of the room, or may have been, and the number of all others."""
        first = await self._reader.event(room_stream(room), 1)
        sessions: dict[str, SessionThen] = {}
        opened = 0
        seq = 0
        while page := await self._reader.page(session_stream(user), seq, found.position, PAGE):
            seq = page[-1].seq
            for recorded in page:
                opened += isinstance(recorded.event, SessionOpened)
                _apply(sessions, recorded, room)
        began = timestamp(first.at) if first else ""
        kept = (each for each in sessions.values() if each.closed_at is None or each.closed_at >= began)
        listed = tuple(kept)
        return listed, opened - len(listed)


def _apply(sessions: dict[str, SessionThen], recorded: Recorded, room: str) -> None:
    """Apply an event to the sessions; drop a session that closed and was sent nothing of the room."""
    match recorded.event:
        case SessionOpened(session=session, node=node, address=address, client=client):
            sessions[session] = SessionThen(
                session=session, node=node, address=address, client=client, opened_at=timestamp(recorded.at),
                written=None, state="open",
            )  # fmt: skip
        case SessionClosed(session=session, ranges=None) if session in sessions:
            sessions[session] = msgspec.structs.replace(
                sessions[session], state="unknown", **_end(recorded.event, recorded.at)
            )
        case SessionClosed(session=session, ranges=ranges, at_least=at_least, sessions=count) if (
            session in sessions
        ):
            opened = sessions.pop(session)
            if written := (ranges or {}).get(room):
                sessions[session] = msgspec.structs.replace(
                    opened,
                    **_end(recorded.event, recorded.at),
                    state="merged" if room in at_least else "closed",
                    written=tuple(Stretch(first=first, last=last) for first, last in written),
                    at_least=at_least.get(room),
                    sessions=count,
                )
        case _:
            pass


def _end(event: SessionClosed, at: datetime) -> dict[str, Any]:
    return {"closed_at": timestamp(at), "reason": event.reason, "code": event.code}


class _Moment(msgspec.Struct, frozen=True):
    """A position, its time, and the first moment of the day if a whole day was asked for."""

    position: int
    at: datetime
    since: datetime | None


class _Sent(msgspec.Struct, frozen=True):
    """The ranges written, and perhaps written, to a person's connections, by room; `unknown` as in `PersonRooms`."""

    written: Mapping[str, Sequence[tuple[int, int]]]
    perhaps: Mapping[str, Sequence[tuple[int, int]]]
    unknown: int

    def added_to(self, seen: RoomSeen) -> RoomSeen:
        """Return a room with what was written of it."""
        room = seen.room_id
        return msgspec.structs.replace(
            seen,
            written=_stretches(self.written.get(room, ())),
            perhaps_written=_stretches(self.perhaps.get(room, ())),
        )


def _seen(
    state: RoomState, events: Sequence[Recorded], user: str, at: datetime, since: datetime | None
) -> tuple[bool, tuple[Stretch, ...]]:
    """Return whether a room was visible to a person, and what they could read, at `at` or at any time from `since` on.

    `events` are those about the settings and the person. Between two of them only the end of a ban changes anything.
    """
    moments = [(state, at)]
    if since is not None:
        before = RoomState(state.room)
        for recorded in events:
            after = evolve(before, recorded)
            if recorded.at >= since:
                moments.append((msgspec.structs.replace(before, head=recorded.seq - 1), recorded.at))
                moments.append((msgspec.structs.replace(after, head=recorded.seq), recorded.at))
            before = after
    last = max(_last_readable(then, user, time) for then, time in moments)
    known = any(then.exists and (then.visibility == "public" or user in then.invited) for then, _ in moments)
    return known or last > 0, (Stretch(first=1, last=last),) if last else ()


def _last_readable(state: RoomState, user: str, at: datetime) -> int:
    end = readable_until(state, user, at)
    return state.head if end is None else end


def _union(sessions: Iterable[SessionThen]) -> tuple[Stretch, ...]:
    """Return the union of what was written to sessions, merged and ascending."""
    stretches = (stretch for session in sessions for stretch in session.written or ())
    return _stretches(union((stretch.first, stretch.last) for stretch in stretches))


def _stretches(ranges: Iterable[tuple[int, int]]) -> tuple[Stretch, ...]:
    return tuple(Stretch(first=first, last=last) for first, last in ranges)
