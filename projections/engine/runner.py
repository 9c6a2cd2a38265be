"""Follows the log: moves a projection's rows and its position in one transaction per window.

One runner per projection leads: it holds a session advisory lock on the connection over which it writes. A leader that
loses its connection therefore can neither write nor block others. Over a shared session, behind a pooler in transaction
mode, a runner holds the lock for one transaction: each step takes it, and reads the position that the last step left.

Invariant: no event is applied twice. It does not depend on the lock: the position moves by compare-and-set before the
rows change, and a runner that finds it moved rolls back.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from projections.engine import rebuild
from projections.engine.log_window import (
    ENDLESS,
    DiffersFromSeal,
    LogWindow,
    NotTracked,
    events,
    next_window,
    tracked,
)
from projections.engine.projection import Projection, relation
from service.domain.events import Recorded
from service.eventstore.connections import is_shared
from service.eventstore.serializer import EventSerializer, UnknownTopic
from service.observability.histogram import Histogram
from service.runtime.database_retry import hard_timeout, is_transient

if TYPE_CHECKING:
    import asyncpg

BATCH_INTERVAL = 0.08
"""Seconds between two reads of the log. Queries apply the log's tail themselves, so a shorter interval only adds
transactions: 20 ms at 1,000 posts a second costs Postgres a third more CPU, and the projector half more."""
DEADLINE = 30.0
"""Seconds after which a step is aborted, with its connection."""
LONG = 600.0
"""The same for a step that scans a whole table: the switch to another table, and purging content."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds until the next try after one failure, and after many."""
OUTAGE_PAUSE = 1.0
"""The longest pause while the database is unreachable, since it may return at any moment."""

Connect = Callable[[], Awaitable[Any]]

Watch = Callable[[str, float, Sequence[Recorded]], None]
"""Called with a projection's name, the loop time at which a batch began, and the events that it applied."""

log = logging.getLogger("onrecord.project")


class Overtaken(Exception):
    """Another runner has moved the position."""


class Runner:
    """Follows the log for one projection's table, or for a table that will replace it (`table`, see `rebuild`).

    `connect` opens an asyncpg connection; `interval` is the seconds between reads of an idle log. `differs`
    distinguishes a damaged topic from one of a newer version (`projections.engine.log_window`).

    For metrics: `position` and `head` as last seen (0 before), `leading`, `stopped` (the topic at which it stopped),
    `applied` events, `batches` (seconds of each) and `failures`.
    """

    def __init__(
        self,
        connect: Connect,
        serializer: EventSerializer,
        projection: Projection,
        interval: float,
        table: str | None = None,
        watch: Watch | None = None,
        differs: DiffersFromSeal | None = None,
    ) -> None:
        self.projection = projection
        self._name = table or projection.table
        self._live: str | None = None
        self.position = 0
        self.head = 0
        self.leading = False
        self.stopped: str | None = None
        self.applied = 0
        self.batches = Histogram()
        self.failures = 0
        self._connect = connect
        self._watch = watch
        self._differs = differs
        self._serializer = serializer
        self._interval = interval
        self._pause = FIRST_PAUSE
        self._wake = asyncio.Event()
        self._waiting = False

    @property
    def behind(self) -> int:
        """How many positions the table was behind the log at the last read."""
        return max(0, self.head - self.position)

    def wake(self) -> None:
        """Read the log soon: events were appended."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the log until cancelled, or until an event of a newer version.

        A runner that rebuilds a wrong table returns when its rows are in place.
        """
        while True:
            try:
                return await self._serve()
            except UnknownTopic as unknown:
                self.stopped = str(unknown)
                log.error(  # noqa: TRY400 - the cause is known; a traceback would hide it
                    "projection_stopped",
                    extra={
                        "projection": self._name,
                        "position": self.position,
                        "topic": self.stopped,
                        "advice": "the log holds an event of a newer version: upgrade the projector",
                    },
                )
                return None
            except Exception as error:  # noqa: BLE001 - it is logged
                if isinstance(error, NotTracked) and self._name != self.projection.table:
                    return None  # another runner has finished this rebuild
                self._log_failure(error)
            await asyncio.sleep(self._pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            longest = OUTAGE_PAUSE if self._waiting else LONGEST_PAUSE
            self._pause = min(self._pause * 2, longest)

    def _log_failure(self, error: Exception) -> None:
        """Log a failure; log an outage only when it begins."""
        self.failures += 1
        if not is_transient(error):
            self._waiting = False
            log.error(
                "projection_failed",
                extra={"projection": self._name, "position": self.position},
                exc_info=error,
            )
        elif not self._waiting:
            self._waiting = True
            log.warning(
                "projection_waits",
                extra={"projection": self._name, "position": self.position, "problem": error},
            )

    async def _serve(self) -> None:
        connection = await self._connect()
        try:
            await self._lead(connection)
            while True:
                self._wake.clear()
                while await self._advance(connection):
                    pass
                if self._live is not None and await self._switch(connection, self._live):
                    if self._name != self.projection.table:
                        return
                    continue
                await self._wait()
        finally:
            self.leading = False
            connection.terminate()  # an ordered close could wait for ever; the server rolls back

    async def _lead(self, connection: "asyncpg.Connection[Any]") -> None:
        """Wait to become the leader, by polling: a query that waits for the lock would block vacuum."""
        while True:
            with hard_timeout(connection, DEADLINE):
                if is_shared(connection):
                    async with connection.transaction(isolation="read_committed"):
                        self.leading = await self._take_step(connection)
                else:
                    await connection.execute(_SESSION)
                    self.leading = await connection.fetchval(_TRY_TO_LEAD, self._name)
                    if self.leading:
                        self._live = await rebuild.begin(connection, self.projection, self._name)
                self.position = await tracked(connection, self._name)
                self.head = await connection.fetchval(_HEAD)
                if self.leading:
                    connection.add_termination_listener(lambda _connection: self.wake())
                    log.info("projection_leads", extra={"projection": self._name, "position": self.position})
                    return
            await asyncio.sleep(self._interval)

    async def _take_step(self, connection: "asyncpg.Connection[Any]") -> bool:
        """Take the lock for this transaction, and continue where the last step ended; False: another runner has it."""
        await connection.execute(_STEP)
        if not await connection.fetchval(_TRY_TO_STEP, self._name):
            return False
        if not self.leading or self._live is not None:
            self._live = await rebuild.begin(connection, self.projection, self._name)
        self.position = await tracked(connection, self._name)
        return True

    async def _advance(self, connection: "asyncpg.Connection[Any]") -> bool:
        """Apply the next window of the log in one transaction; return whether more follows."""
        began = asyncio.get_running_loop().time()
        applied: Sequence[Recorded] = ()
        with hard_timeout(connection, DEADLINE) as allow:
            try:
                async with connection.transaction():
                    if is_shared(connection) and not await self._take_step(connection):
                        return False
                    # A rebuild never overtakes the live table, so that the two can be compared.
                    last = ENDLESS if self._live is None else await tracked(connection, self._live)
                    window = await next_window(
                        connection, self.projection.followed, self.position, last, self._differs
                    )
                    if window.upto > window.after:
                        applied = await self._apply(connection, window, allow)
            except Overtaken:
                log.warning(
                    "projection_overtaken", extra={"projection": self._name, "position": self.position}
                )
                self.position = await tracked(connection, self._name)
                return True
        self.position, self.head = window.upto, window.head
        if applied:
            self.applied += len(applied)
            if self._watch is not None:
                self._watch(self.projection.name, began, applied)
            self.batches.observe(asyncio.get_running_loop().time() - began)
        self._pause = FIRST_PAUSE
        if self._waiting:
            self._waiting = False
            log.warning("projection_goes_on", extra={"projection": self._name, "position": self.position})
        return window.upto < min(window.head, last)

    async def _switch(self, connection: "asyncpg.Connection[Any]", live: str) -> bool:
        with hard_timeout(connection, LONG):
            if not is_shared(connection):
                done = await rebuild.finish(connection, self.projection, self._name, live)
            else:
                async with connection.transaction():
                    done = await self._take_step(connection) and self._live == live
                    done = done and await rebuild.finish(connection, self.projection, self._name, live)
        if done:
            self._live = None
        return done

    async def _apply(
        self, connection: "asyncpg.Connection[Any]", window: LogWindow, allow: Callable[[float], None]
    ) -> Sequence[Recorded]:
        """Apply a window; return its events."""
        # The position first: a concurrent runner blocks on this row lock, then fails the compare-and-set.
        moved = await connection.execute(_MOVE, self._name, window.after, window.upto)
        if moved != "UPDATE 1":
            raise Overtaken
        batch = await events(connection, self._serializer, self.projection.followed, window)
        if batch:
            if any(recorded.event.TOPIC not in self.projection.topics for recorded in batch):
                allow(LONG)  # content is purged from the table, which may be large
            await self.projection.take(connection, relation(self._name), batch)
            await self._serializer.evict_destroyed(batch, connection)
        return batch

    async def _wait(self) -> None:
        await asyncio.sleep(BATCH_INTERVAL)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await self._wake.wait()


# synchronous_commit: a crash loses rows and position together, and they are rebuilt, so no commit waits for the disk.
# plan_cache_mode: a plan made while a table was small would be kept when it is large.
# The other settings detect a leader that is gone, busy or idle, so that it does not keep the lock.
_SESSION = """
    SET synchronous_commit = off; SET plan_cache_mode = force_custom_plan;
    SET client_connection_check_interval = '1s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3
"""
# Over a shared session, for one transaction: no plan is kept there, and the pooler watches its clients. It closes the
# connection to the server when a client is gone, which a query has to notice.
_STEP = "SET LOCAL synchronous_commit = off; SET LOCAL client_connection_check_interval = '1s'"
_TRY_TO_STEP = "SELECT pg_try_advisory_xact_lock(7236111, hashtext($1))"
_TRY_TO_LEAD = "SELECT pg_try_advisory_lock(7236111, hashtext($1))"
_HEAD = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
_MOVE = "UPDATE notification_tracking SET notification_id = $3 WHERE application_name = $1 AND notification_id = $2"
