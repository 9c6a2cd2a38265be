"""Sessions on the record: who was connected when, from where, and what was written to them.

A connection never waits for this: `opened` and `closed` only note, and one task per node writes, many at once, through
the appender. A row of `open_sessions` stands from before `SessionOpened` until after `SessionClosed`, so whatever is
cut short is finished by `service.cluster.session_reaper`.

The rule: each of the two events is recorded once, whoever tries and however often. Both have refs of their own, which
outside clients cannot use, and a closing is guarded by its session.
"""

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from service.cluster.leases import Lease
from service.domain.events import Event, SessionClosed, SessionOpened
from service.domain.streams import session_stream
from service.encryption.keyring import KeyRing, PersonKey
from service.errors import Overloaded, Unavailable
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

MAX_VISITS = 100_000
"""Sessions that are open here or wait to be recorded, about 1 KiB each; above that they go unrecorded, and counted."""

BATCH = 200
REST = 0.1
"""Seconds from one batch to the next, while it is not full: in a storm of arrivals each then has many."""

RETRY = 1.0
"""Seconds after which what could not be recorded is tried again."""

Ranges = dict[str, tuple[tuple[int, int], ...]]
"""Per room the stretches of seqs that were written to a session, both ends included."""

log = logging.getLogger("onrecord.visits")


class Closing(msgspec.Struct, frozen=True):
    """How a session ended."""

    reason: str
    code: int | None
    ranges: Ranges | None


class _Visit(msgspec.Struct):
    """`seq` is that of its `SessionOpened`, once recorded."""

    session: str
    incarnation: UUID
    user: str
    address: str | None
    client: str | None
    seq: int | None = None
    closing: Closing | None = None


class SessionEntries:
    """What the appender is given for a session's two events, by its own node or by a reaper."""

    def __init__(self, serializer: EventSerializer, keys: KeyRing) -> None:
        self._serializer = serializer
        self._keys = keys

    def opening(self, event: SessionOpened, user: str, key: PersonKey | None) -> AppendRequest:
        """Return the entry of an opening; its ref makes it the only one."""
        return self._entry("opened", event.session, user, event, 0, (), key)

    def closing(self, event: SessionClosed, user: str, opened: int) -> AppendRequest:
        """Return the entry of a closing; `opened` is the seq of the opening, after which the session must be open."""
        return self._entry("closed", event.session, user, event, opened, (event.subject,), None)

    def _entry(
        self, what: str, session: str, user: str, event: Event, seq: int, guard: tuple[str, ...], key: Any
    ) -> AppendRequest:
        stream = session_stream(user)
        return AppendRequest.of(
            self._serializer,
            stream,
            [event],
            user=user,
            ref=f"~session.{what}:{session}",  # no client's ref begins with ~
            # Equal for all who append it: the first version is recorded, and later ones are answered `known`.
            fingerprint=self._keys.fingerprint(f"session.{what}:{session}".encode()),
            decided_on=seq,
            guard=guard,
            key=key,
        )


async def place(appender: Appender, entries: list[AppendRequest]) -> list[AppendResult | None]:
    """Append entries; return what became of each, None where it may not be recorded and has to be tried again."""
    placing: list[asyncio.Future[AppendResult]] = []
    with suppress(Overloaded):
        for entry in entries:
            placing.append(appender.offer(entry))  # noqa: PERF401 - what was offered before the queue was full counts
    answers = await asyncio.gather(*placing, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
            raise answer
    placed = [answer if isinstance(answer, AppendResult) else None for answer in answers]
    return placed + [None] * (len(entries) - len(placed))


class SessionLog:
    """Records the sessions of this node."""

    def __init__(
        self,
        database: "asyncpg.Pool[Any]",
        appender: Appender,
        serializer: EventSerializer,
        keys: KeyRing,
        lease: Lease,
        deadline: float,
    ) -> None:
        self._database = database
        self._appender = appender
        self._entries = SessionEntries(serializer, keys)
        self._keys = keys
        self._lease = lease
        self._deadline = deadline
        self._visits: dict[str, _Visit] = {}
        self._todo: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.missed = 0

    @property
    def waiting(self) -> int:
        """How many sessions wait to be recorded."""
        return len(self._todo)

    def opened(self, session: str, user: str, address: str | None, client: str | None) -> None:
        """Note that a session has begun. Where too many wait already it is not recorded at all, and counted."""
        if len(self._visits) >= MAX_VISITS:
            self.missed += 1
            log.error("session_not_recorded", extra={"session": session, "user": user, "missed": self.missed})
            return
        self._visits[session] = _Visit(session, self._lease.incarnation, user, address, client)
        self._note(session)

    def closed(self, session: str, closing: Closing) -> None:
        """Note that a session has ended. What was opened on the record is always closed there."""
        visit = self._visits.get(session)
        if visit is not None and visit.closing is None:
            visit.closing = closing
            self._note(session)

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._todo:
                batch = [self._visits[session] for session in list(self._todo)[:BATCH]]
                for visit in batch:
                    del self._todo[visit.session]
                await self._try(batch)
                if 0 < len(self._todo) < BATCH:
                    await asyncio.sleep(REST)
            self._settled.set()

    async def drain(self, seconds: float) -> None:
        """Wait until all that was noted is recorded, at most so long; the rest is the reaper's."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            log.warning("sessions_left_open", extra={"sessions": len(self._todo)})

    def _note(self, session: str) -> None:
        self._todo[session] = None
        self._settled.clear()
        self._wake.set()

    async def _try(self, batch: list[_Visit]) -> None:
        try:
            await self._open([visit for visit in batch if visit.seq is None])
            await self._close(
                [visit for visit in batch if visit.seq is not None and visit.closing is not None]
            )
        except Unavailable:
            log.warning("sessions_wait_for_the_log")
        finally:
            left = [visit for visit in batch if visit.seq is None or self._ended(visit)]
            for visit in left:
                self._note(visit.session)
        if left:
            log.warning("sessions_not_recorded_yet", extra={"sessions": len(left)})
            await asyncio.sleep(RETRY)

    def _ended(self, visit: _Visit) -> bool:
        return visit.closing is not None and visit.session in self._visits

    async def _open(self, batch: list[_Visit]) -> None:
        if not batch:
            return
        await self._lease.taken()
        rows = (
            [UUID(visit.session) for visit in batch],
            [visit.incarnation for visit in batch],
            [visit.user for visit in batch],
        )
        await retry_read(lambda: self._database.execute(_REMEMBER, *rows), self._deadline)
        described = {visit.user for visit in batch if visit.client is not None}
        keys = await self._keys.of_people(described, self._database)
        entries = [self._opening(visit, keys.get(visit.user)) for visit in batch]
        for visit, placed in zip(batch, await place(self._appender, entries), strict=True):
            if placed is not None and placed.outcome == "key_gone":
                self._keys.forget(visit.user)  # the next try finds another, or that the words are erased
            elif placed is not None:
                visit.seq = placed.seq

    async def _close(self, batch: list[_Visit]) -> None:
        if not batch:
            return
        answers = await place(self._appender, [self._closing(visit) for visit in batch])
        # `stale` says that it was closed already: a reaper took this node for dead.
        over = [visit for visit, placed in zip(batch, answers, strict=True) if placed is not None]
        sessions = [UUID(visit.session) for visit in over]
        await retry_read(lambda: self._database.execute(FORGET, sessions), self._deadline)
        for visit in over:
            del self._visits[visit.session]
            self._todo.pop(visit.session, None)

    def _opening(self, visit: _Visit, key: PersonKey | None) -> AppendRequest:
        if key is None:  # nothing to seal, or nothing to seal it with: erased, or a key that cannot be opened
            visit.client = None
        event = SessionOpened(
            session=visit.session,
            node=self._lease.node,
            incarnation=str(visit.incarnation),
            address=visit.address,
            client=visit.client,
        )
        return self._entries.opening(event, visit.user, key)

    def _closing(self, visit: _Visit) -> AppendRequest:
        closing = visit.closing
        assert closing is not None  # noqa: S101 - for the type checker
        event = SessionClosed(
            session=visit.session, reason=closing.reason, code=closing.code, ranges=closing.ranges
        )
        return self._entries.closing(event, visit.user, visit.seq or 0)


_REMEMBER = """
    INSERT INTO open_sessions (session_id, incarnation, user_id)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])
    ON CONFLICT DO NOTHING
"""
FORGET = "DELETE FROM open_sessions WHERE session_id = ANY ($1::uuid[])"
