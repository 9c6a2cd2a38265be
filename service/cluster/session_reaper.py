"""Records the closing of sessions that dead nodes left open.

Each node does this for all others. The work list is the rows of `open_sessions` whose incarnation has ended. A row is
deleted only after the closing of its session is recorded, so that another node can complete the work of a reaper that
dies.

Invariant: the recorded reason is `node_lost`, without ranges, because it is not known what was written. Several
reapers, and a node that resumes and closes its own sessions, record one closing: see `service.cluster.session_log`.
"""

import asyncio
import logging
from uuid import UUID

import msgspec

from service.cluster.leases import Lease
from service.cluster.session_log import SessionAppender
from service.domain.events import SessionClosed, SessionOpened
from service.domain.streams import session_stream, session_subject, stream_id
from service.errors import Unavailable

NODE_LOST = "node_lost"
BATCH = 200

log = logging.getLogger("onrecord.reaper")


class _Orphan(msgspec.Struct):
    """An open session of a dead node; `opened` is the seq of its opening, None if there is none."""

    session: UUID
    user: str
    node: str
    incarnation: UUID
    opened: int | None = None
    closed: bool = False


class Reaper:
    """Fences the other nodes whose lease has run out and closes their sessions."""

    def __init__(self, events: SessionAppender, lease: Lease) -> None:
        self._events = events
        self._lease = lease

    async def run(self) -> None:
        """Fence and reap three times per lease, until cancelled."""
        while True:
            await asyncio.sleep(self._lease.seconds / 3)
            try:
                await self._lease.fence_expired()
                await self.reap()
            except Unavailable:
                log.warning("reaping_postponed")

    async def reap(self) -> int:
        """Close the open sessions of incarnations that have ended; return how many.

        Raises:
            Unavailable: the log cannot be reached.
        """
        reaped = 0
        while closed := await self._reap_some():
            reaped += closed
        return reaped

    async def _reap_some(self) -> int:
        orphans = [_Orphan(*row) for row in await self._events.fetch(_ORPHANS, BATCH)]
        if not orphans:
            return 0
        await self._look_up(orphans)
        await self._open([orphan for orphan in orphans if orphan.opened is None])
        await self._close([orphan for orphan in orphans if orphan.opened is not None and not orphan.closed])
        closed = [orphan.session for orphan in orphans if orphan.closed]
        await self._events.forget(closed)
        log.info("sessions_reaped", extra={"sessions": len(closed)})
        return len(closed)

    async def _look_up(self, orphans: list[_Orphan]) -> None:
        """Set `opened` and `closed` of each from the log."""
        by_subject = {session_subject(str(orphan.session)): orphan for orphan in orphans}
        streams = [stream_id(session_stream(orphan.user)) for orphan in orphans]
        for subject, seq, topic in await self._events.fetch(_FACTS, streams, list(by_subject)):
            if topic == SessionOpened.TOPIC:
                by_subject[subject].opened = seq
            elif topic == SessionClosed.TOPIC:
                by_subject[subject].closed = True

    async def _open(self, orphans: list[_Orphan]) -> None:
        """Record the openings that the dead node did not record; address and client are not known."""
        openings = []
        for orphan in orphans:
            session, incarnation = str(orphan.session), str(orphan.incarnation)
            event = SessionOpened(
                session=session, node=orphan.node, incarnation=incarnation, address=None, client=None
            )
            openings.append((event, orphan.user, None))
        for orphan, result in zip(orphans, await self._events.open(openings), strict=True):
            orphan.opened = result.seq if result is not None else None

    async def _close(self, orphans: list[_Orphan]) -> None:
        closings = []
        for orphan in orphans:
            event = SessionClosed(session=str(orphan.session), reason=NODE_LOST, ranges=None)
            closings.append((event, orphan.user, orphan.opened or 0))
        for orphan, result in zip(orphans, await self._events.close(closings), strict=True):
            orphan.closed = result is not None


_ORPHANS = """
    SELECT s.session_id, s.user_id, i.node, i.incarnation
    FROM incarnations i JOIN open_sessions s USING (incarnation)
    WHERE i.fenced_at IS NOT NULL OR i.ended_at IS NOT NULL
    LIMIT $1
"""
_FACTS = """
    SELECT e.subject, e.originator_version, e.topic
    FROM unnest($1::uuid[], $2::text[]) AS wanted (id, subject)
    JOIN stored_events e ON e.originator_id = wanted.id AND e.subject = wanted.subject COLLATE "C"
"""
