"""Records sessions: who was connected when and from where, and which seqs were written to the connection.

A connection never waits for this: `opened` and `closed` only enqueue, and one task per node appends them in batches. A
row of `open_sessions` exists from before `SessionOpened` until after `SessionClosed`, so that another node's
`service.cluster.session_reaper` can complete the work of a node that dies. Many sessions of under a second share one
record: see `service.cluster.brief_sessions`.

Invariant: each of the two events is recorded once, however often and by however many nodes it is appended. Each has a
ref derived from its session, which clients cannot use, and the closing is guarded by its session.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from service.cluster.brief_sessions import BriefSessions, Closing, Group
from service.cluster.leases import Lease
from service.domain.events import SessionClosed, SessionOpened
from service.domain.streams import session_stream
from service.encryption.person_key import PersonKey
from service.errors import Overloaded, Unavailable
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

MAX_SESSIONS = 100_000
"""Sessions that are open or wait to be recorded, about 1 KiB each; further ones are counted and not recorded."""

BATCH = 200
BATCH_INTERVAL = 0.1
"""Seconds between two batches that are not full, which makes batches larger when many clients connect at once."""

RETRY = 1.0
"""Seconds after which a failed batch is tried again."""

log = logging.getLogger("onrecord.visits")


class _Session(msgspec.Struct):
    """A session that is not closed on the record; `seq` is that of its `SessionOpened`, once recorded."""

    id: str
    incarnation: UUID
    user: str
    address: str | None
    client: str | None
    brief: bool = False
    seq: int | None = None
    closing: Closing | None = None


class SessionAppender:
    """Appends the two events of sessions: those of this node, or those that a dead node left open."""

    def __init__(
        self,
        database: "asyncpg.Pool[Any]",
        appender: Appender,
        serializer: EventSerializer,
        deadline: float,
    ) -> None:
        self.database = database
        self.keys = serializer.keys
        self._appender = appender
        self._serializer = serializer
        self._deadline = deadline

    async def open(
        self, openings: Sequence[tuple[SessionOpened, str, PersonKey | None]]
    ) -> list[AppendResult | None]:
        """Append openings, each with its user and the key for its personal fields; return results as `_append` does."""
        return await self._append(
            [self._request("opened", event, user, key=key) for event, user, key in openings]
        )

    async def close(self, closings: list[tuple[SessionClosed, str, int]]) -> list[AppendResult | None]:
        """Append closings, each with its user and the seq of the opening.

        The result is `stale` if the session is closed already.
        """
        return await self._append(
            [
                self._request("closed", event, user, decided_on=opened, guard=(event.subject,))
                for event, user, opened in closings
            ]
        )

    async def forget(self, sessions: list[UUID]) -> None:
        """Delete the rows of sessions whose closing is on the record."""
        await self.fetch("DELETE FROM open_sessions WHERE session_id = ANY ($1::uuid[])", sessions)

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run an idempotent statement."""
        return await retry_read(lambda: self.database.fetch(statement, *arguments), self._deadline)

    def _request(
        self, kind: str, event: SessionOpened | SessionClosed, user: str, **how: Any
    ) -> AppendRequest:
        name = f"session.{kind}:{event.session}"
        # Clients cannot use this ref. It is the same on all nodes, as is the fingerprint, so the first request is
        # recorded, and later ones are answered `known`.
        return AppendRequest.of(
            self._serializer, session_stream(user), [event],
            user=user, ref=f"~{name}", fingerprint=self.keys.fingerprint(name.encode()), **how,
        )  # fmt: skip

    async def _append(self, requests: list[AppendRequest]) -> list[AppendResult | None]:
        """Return the result of each request, None for one that has to be tried again."""
        placing: list[asyncio.Future[AppendResult]] = []
        with suppress(Overloaded):
            for request in requests:
                placing.append(self._appender.offer(request))  # noqa: PERF401 - keeps those offered before the queue was full
        answers = await asyncio.gather(*placing, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                raise answer
        results = [answer if isinstance(answer, AppendResult) else None for answer in answers]
        return results + [None] * (len(requests) - len(results))


class SessionLog:
    """Records the sessions of this node."""

    def __init__(self, events: SessionAppender, lease: Lease) -> None:
        self._events = events
        self._keys = events.keys
        self._lease = lease
        self._open_sessions: dict[str, _Session] = {}
        self._queue: dict[str, None] = {}
        self._brief = BriefSessions(self, asyncio.get_running_loop().time)
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.missed = 0

    @property
    def waiting(self) -> int:
        """Sessions that wait to be recorded."""
        return len(self._queue)

    def opened(self, session: str, user: str, address: str | None, client: str | None) -> None:
        """Queue the opening of a session; beyond `MAX_SESSIONS` it is counted in `missed` and not recorded."""
        if len(self._open_sessions) >= MAX_SESSIONS:
            self.missed += 1
            log.error("session_not_recorded", extra={"session": session, "user": user, "missed": self.missed})
            return
        self._open_sessions[session] = _Session(session, self._lease.incarnation, user, address, client)
        if self._brief.opened(session, user, self._lease.incarnation):
            self._enqueue(session)

    def closed(self, session: str, closing: Closing) -> None:
        """Queue the closing of a session, once. A session of under a second may share a record."""
        opened = self._open_sessions.get(session)
        if opened is None or opened.closing is not None:
            return
        if self._brief.closed(session, opened.address, closing):
            del self._open_sessions[session]
            return
        opened.closing = closing
        self._enqueue(session)

    # See `Recorder`.

    def record(self, session: str) -> None:
        """Queue the opening of a session."""
        self._enqueue(session)

    def open_group(self, group: Group, session: str) -> None:
        """Queue the opening of a group, with the address and client of its first session."""
        first = self._open_sessions[session]
        self._open_sessions[group.id] = _Session(
            group.id, group.incarnation, first.user, first.address, first.client, brief=True
        )
        self._enqueue(group.id)

    def close_group(self, group: Group) -> None:
        """Queue the closing of a group."""
        self._open_sessions[group.id].closing = group.closing()
        self._enqueue(group.id)

    def end_groups(self) -> None:
        """Queue the closings of all groups."""
        self._brief.end()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._open_sessions[name] for name in list(self._queue)[:BATCH]]
                for session in batch:
                    del self._queue[session.id]
                await self._record(batch)
                if 0 < len(self._queue) < BATCH:
                    await asyncio.sleep(BATCH_INTERVAL)
            self._settled.set()

    async def drain(self, seconds: float) -> None:
        """Wait at most `seconds` until all queued sessions are recorded; a reaper closes the others."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            log.warning("sessions_left_open", extra={"sessions": len(self._queue)})

    def _enqueue(self, session: str) -> None:
        self._queue[session] = None
        self._settled.clear()
        self._wake.set()

    async def _record(self, batch: list[_Session]) -> None:
        try:
            await self._open([session for session in batch if session.seq is None])
            await self._close([session for session in batch if session.seq is not None and session.closing])
        except Unavailable:
            log.warning("sessions_wait_for_the_log")
        finally:
            left = [
                session
                for session in batch
                if session.seq is None or (session.closing is not None and session.id in self._open_sessions)
            ]
            for session in left:
                self._enqueue(session.id)
        if left:
            log.warning("sessions_not_recorded_yet", extra={"sessions": len(left)})
            await asyncio.sleep(RETRY)

    async def _open(self, batch: list[_Session]) -> None:
        if not batch:
            return
        await self._lease.taken()
        rows = (
            [UUID(session.id) for session in batch],
            [session.incarnation for session in batch],
            [session.user for session in batch],
        )
        await self._events.fetch(_INSERT_OPEN, *rows)
        with_client = {session.user for session in batch if session.client is not None}
        keys = await self._keys.of_people(with_client, self._events.database)
        openings = [self._opening(session, keys.get(session.user)) for session in batch]
        for session, result in zip(batch, await self._events.open(openings), strict=True):
            if result is not None and result.outcome == "key_gone":
                self._keys.forget(session.user)  # the next try finds another key, or that the user is erased
            elif result is not None:
                session.seq = result.seq

    async def _close(self, batch: list[_Session]) -> None:
        if not batch:
            return
        answers = await self._events.close([self._closing(session) for session in batch])
        # `stale` is final too: a reaper that took this node for dead has closed the session.
        final = [session for session, result in zip(batch, answers, strict=True) if result is not None]
        await self._events.forget([UUID(session.id) for session in final])
        for session in final:
            del self._open_sessions[session.id]
            self._queue.pop(session.id, None)

    def _opening(
        self, session: _Session, key: PersonKey | None
    ) -> tuple[SessionOpened, str, PersonKey | None]:
        if key is None:  # there is no client name, the user is erased, or the key cannot be opened
            session.client = None
        event = SessionOpened(
            session=session.id,
            node=self._lease.node,
            incarnation=str(session.incarnation),
            address=session.address,
            client=session.client,
            brief=session.brief,
        )
        return event, session.user, key

    def _closing(self, session: _Session) -> tuple[SessionClosed, str, int]:
        closing = session.closing
        assert closing is not None  # noqa: S101 - for the type checker
        event = SessionClosed(session=session.id, **msgspec.structs.asdict(closing))
        return event, session.user, session.seq or 0


_INSERT_OPEN = """
    INSERT INTO open_sessions (session_id, incarnation, user_id)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])
    ON CONFLICT DO NOTHING
"""
