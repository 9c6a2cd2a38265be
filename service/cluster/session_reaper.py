"""Closes on the record the sessions that dead nodes left open.

Each node does this for all others. The work list is the rows of `open_sessions` whose incarnation is over; a row is
deleted only after its session's closing is on the record, so another node completes the work of a reaper that dies.

Invariant: the recorded reason is `node_lost`, without ranges: what was written is unknown and never guessed. Several
reapers, and a node that resumes and closes its own sessions, have one effect: see `service.cluster.session_log`.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from service.cluster.leases import Lease
from service.cluster.session_log import SessionAppender
from service.domain.events import SessionClosed, SessionOpened
from service.domain.streams import session_stream, session_subject, stream_id
from service.encryption.keyring import KeyRing
from service.errors import Unavailable
from service.eventstore.appender import Appender
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg

NODE_LOST = "node_lost"
BATCH = 200

log = logging.getLogger("onrecord.reaper")


class _Orphan(msgspec.Struct):
    """An open session of a dead node; `opened` is the seq of its opening, None where there is none."""

    session: UUID
    user: str
    node: str
    incarnation: UUID
    opened: int | None = None
    closed: bool = False


class Reaper:
    """Fences the other nodes whose lease has run out and closes their sessions."""

    def __init__(
        self,
        database: "asyncpg.Pool[Any]",
        appender: Appender,
        serializer: EventSerializer,
        keys: KeyRing,
        lease: Lease,
        deadline: float,
    ) -> None:
        self._events = SessionAppender(database, appender, serializer, keys, deadline)
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
        """Close the open sessions of incarnations that are over; return how many.

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
        """Set the recorded opening and closing of each."""
        by_subject = {session_subject(str(orphan.session)): orphan for orphan in orphans}
        streams = [stream_id(session_stream(orphan.user)) for orphan in orphans]
        for subject, seq, topic in await self._events.fetch(_FACTS, streams, list(by_subject)):
            if topic == SessionOpened.TOPIC:
                by_subject[subject].opened = seq
            elif topic == SessionClosed.TOPIC:
                by_subject[subject].closed = True

    async def _open(self, orphans: list[_Orphan]) -> None:
        """Record the openings that the node died too early to record; address and client are not known."""
        openings = [
            SessionOpened(
                session=str(orphan.session),
                node=orphan.node,
                incarnation=str(orphan.incarnation),
                address=None,
                client=None,
            )
            for orphan in orphans
        ]
        users = [orphan.user for orphan in orphans]
        results = await self._events.open(
            [(event, user, None) for event, user in zip(openings, users, strict=True)]
        )
        for orphan, result in zip(orphans, results, strict=True):
            orphan.opened = result.seq if result is not None else None

    async def _close(self, orphans: list[_Orphan]) -> None:
        results = await self._events.close(
            [
                (
                    SessionClosed(session=str(orphan.session), reason=NODE_LOST, ranges=None),
                    orphan.user,
                    orphan.opened or 0,
                )
                for orphan in orphans
            ]
        )
        for orphan, result in zip(orphans, results, strict=True):
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
