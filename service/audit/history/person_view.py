"""Reports what one person could see of a room by a moment, what their connections were sent, and what they had read.

What a person could see follows from the room's rules. The ranges of seqs sent to a connection are recorded when it
closes. If it was still open at the moment, or its node died, they are unknown and reported as unknown.
"""

from collections.abc import Iterable

import msgspec

from service.audit.history.as_of import AsOf, RoomAsOf
from service.domain.events import Recorded, SessionClosed, SessionOpened
from service.domain.room import readable_until
from service.domain.streams import room_stream, session_stream
from service.errors import RoomNotFound
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.audit import PersonView, SessionThen, Stretch
from service.protocol.events import timestamp
from service.protocol.room_as_of import Moment
from service.runtime.ranges import union

PAGE = 500
"""Session events per read."""


class PersonViews:
    """Reads rooms from the point of view of one person."""

    def __init__(self, reader: AsOfReader) -> None:
        self._reader = reader
        self._rooms = AsOf(reader)

    async def view(self, user: str, room: str, moment: Moment) -> PersonView:
        """Return what a person could see, was sent and had read of a room by a moment.

        Raises:
            RoomNotFound: the room did not exist at that moment.
            Unavailable: the log cannot be read.
        """
        found = await self._rooms.at(room, moment)
        if not found.state.exists:
            raise RoomNotFound(room=room)
        sessions = await self._sessions(user, room, found)
        return PersonView(
            user_id=user,
            room_id=room,
            **msgspec.structs.asdict(await self._rooms.standpoint(found)),
            visible=_is_visible(found, user),
            readable=_readable(found, user),
            standing=found.standings.get(user),
            written=_union(session for session in sessions if session.state == "closed"),
            perhaps_written=_union(session for session in sessions if session.state == "merged"),
            unknown=sum(session.written is None for session in sessions),
            sessions=sessions,
        )

    async def _sessions(self, user: str, room: str, found: RoomAsOf) -> tuple[SessionThen, ...]:
        """Return the connections that were sent events of the room, or may have been."""
        first = await self._reader.event(room_stream(room), 1)
        sessions: dict[str, SessionThen] = {}
        seq = 0
        while page := await self._reader.page(session_stream(user), seq, found.position, PAGE):
            seq = page[-1].seq
            for recorded in page:
                _apply(sessions, recorded, room)
        opened_at = timestamp(first.at) if first else ""
        return tuple(
            session
            for session in sessions.values()
            if session.closed_at is None or session.closed_at >= opened_at
        )


def _apply(sessions: dict[str, SessionThen], recorded: Recorded, room: str) -> None:
    """Apply an event to the sessions; drop a session that closed and was sent nothing of the room."""
    match recorded.event:
        case SessionOpened(session=session, node=node):
            sessions[session] = SessionThen(
                session=session, node=node, opened_at=timestamp(recorded.at), written=None, state="open"
            )
        case SessionClosed(session=session, ranges=None) if session in sessions:
            sessions[session] = msgspec.structs.replace(
                sessions[session], closed_at=timestamp(recorded.at), state="unknown"
            )
        case SessionClosed(session=session, ranges=ranges, at_least=at_least, sessions=count) if (
            session in sessions
        ):
            opened = sessions.pop(session)
            if written := (ranges or {}).get(room):
                sessions[session] = msgspec.structs.replace(
                    opened,
                    closed_at=timestamp(recorded.at),
                    state="merged" if room in at_least else "closed",
                    written=tuple(Stretch(first=first, last=last) for first, last in written),
                    at_least=at_least.get(room),
                    sessions=count,
                )
        case _:
            pass


def _is_visible(found: RoomAsOf, user: str) -> bool:
    state = found.state
    return state.visibility == "public" or user in state.invited or bool(_readable(found, user))


def _readable(found: RoomAsOf, user: str) -> tuple[Stretch, ...]:
    end = readable_until(found.state, user, found.at)
    last = found.state.head if end is None else end
    return (Stretch(first=1, last=last),) if last else ()


def _union(sessions: Iterable[SessionThen]) -> tuple[Stretch, ...]:
    """Return the union of what was written to sessions, merged and ascending."""
    stretches = (stretch for session in sessions for stretch in session.written or ())
    merged = union((stretch.first, stretch.last) for stretch in stretches)
    return tuple(Stretch(first=first, last=last) for first, last in merged)
