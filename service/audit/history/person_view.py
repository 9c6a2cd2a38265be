"""What one person could see of a room by a moment, what was written to connections of theirs, and what they had read.

What they could see follows from the room's own rules. What was written to a connection is put on the record when it
closes; of one that was open at the moment, or whose node died, nobody knows, and that is said and not guessed.
"""

from collections.abc import Iterable

import msgspec

from service.audit.history.as_of import AsOf, Then
from service.domain.events import Recorded, SessionClosed, SessionOpened
from service.domain.room import readable_until
from service.domain.streams import room_stream, session_stream
from service.errors import RoomNotFound
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.audit import PersonView, SessionThen, Stretch
from service.protocol.events import timestamp
from service.protocol.room_as_of import Moment

PAGE = 500
"""Events of sessions read at a time."""


class PersonViews:
    """Rooms through the eyes of one person."""

    def __init__(self, past: AsOfReader) -> None:
        self._past = past
        self._rooms = AsOf(past)

    async def view(self, user: str, room: str, moment: Moment) -> PersonView:
        """Return what somebody could see, was sent and had read of a room by a moment.

        Raises:
            RoomNotFound: there was no such room.
            Unavailable: the log cannot be read.
        """
        then = await self._rooms.then(room, moment)
        if not then.state.exists:
            raise RoomNotFound(room=room)
        sessions = await self._sessions(user, room, then)
        return PersonView(
            user_id=user,
            room_id=room,
            **msgspec.structs.asdict(await self._rooms.standpoint(then)),
            visible=_visible(then, user),
            readable=_readable(then, user),
            standing=then.standings.get(user),
            written=_union(stretch for one in sessions for stretch in one.written or ()),
            unknown=sum(one.written is None for one in sessions),
            sessions=sessions,
        )

    async def _sessions(self, user: str, room: str, then: Then) -> tuple[SessionThen, ...]:
        """Return the connections that were, or may have been, sent something of the room."""
        first = await self._past.event(room_stream(room), 1)
        found: dict[str, SessionThen] = {}
        seq = 0
        while page := await self._past.page(session_stream(user), seq, then.position, PAGE):
            seq = page[-1].seq
            for recorded in page:
                _take(found, recorded, room)
        opened_at = timestamp(first.at) if first else ""
        return tuple(one for one in found.values() if one.closed_at is None or one.closed_at >= opened_at)


def _take(found: dict[str, SessionThen], recorded: Recorded, room: str) -> None:
    """Add what an event says of a connection; one that was certainly sent nothing of the room is dropped."""
    match recorded.event:
        case SessionOpened(session=session, node=node):
            found[session] = SessionThen(
                session=session, node=node, opened_at=timestamp(recorded.at), written=None, state="open"
            )
        case SessionClosed(session=session, ranges=None) if session in found:
            found[session] = msgspec.structs.replace(
                found[session], closed_at=timestamp(recorded.at), state="unknown"
            )
        case SessionClosed(session=session, ranges=ranges) if session in found:
            opened = found.pop(session)
            if stretches := (ranges or {}).get(room):
                found[session] = msgspec.structs.replace(
                    opened, closed_at=timestamp(recorded.at), state="closed", written=_stretches(stretches)
                )
        case _:
            pass


def _visible(then: Then, user: str) -> bool:
    """Return whether the room was there for somebody at all."""
    state = then.state
    return state.visibility == "public" or user in state.invited or bool(_readable(then, user))


def _readable(then: Then, user: str) -> tuple[Stretch, ...]:
    end = readable_until(then.state, user, then.at)
    last = then.state.head if end is None else end
    return (Stretch(first=1, last=last),) if last else ()


def _stretches(ranges: Iterable[tuple[int, int]]) -> tuple[Stretch, ...]:
    return tuple(Stretch(first=first, last=last) for first, last in ranges)


def _union(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Return the same numbers in as few stretches as they fill, ascending."""
    union: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda one: one.first):
        if union and stretch.first <= union[-1].last + 1:
            union[-1] = Stretch(first=union[-1].first, last=max(union[-1].last, stretch.last))
        else:
            union.append(stretch)
    return tuple(union)
