"""Group commit: everything that queued up while the last commit was in flight goes into the next.

One task per node, one batch in flight, no timer. The queue is bounded by count and bytes; when it is full, `offer` says
`Overloaded` at once and nothing is recorded. A batch whose reply was lost is sent again verbatim: refs make that safe.
Any other failed batch is split until the culprit stands alone.

The rule: an entry's future is resolved only after its commit, and whoever waits for it goes on when `placed` was told.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from service.errors import Overloaded, Unavailable
from service.eventstore.entries import (
    APPEND,
    AppendRequest,
    AppendResult,
    CommitResult,
    Outcome,
    arguments,
    read_batch,
)
from service.eventstore.serializer import EventSerializer
from service.observability.histogram import SIZES, Histogram
from service.runtime.database_retry import PAUSE, TROUBLE, is_transient

if TYPE_CHECKING:
    import asyncpg

MAX_BATCH_EVENTS = 200
MAX_BATCH_BYTES = 500_000
MAX_QUEUED = 20_000
MAX_QUEUED_BYTES = 64 * 1024 * 1024

log = logging.getLogger("onrecord.append")

_Waiting = tuple[AppendRequest, "asyncio.Future[AppendResult]"]


class Appender:
    """The node's only way to write events.

    `known_head` answers how far this node has a stream (None: it does not follow it); `placed` is given every
    batch right after its commit. For metrics: `batches` (events in each), `commits` (seconds of each), `outcomes` of
    entries, `retries` of batches and `unavailable`, the entries that were given up.
    """

    def __init__(
        self,
        connect: "Callable[[], Any]",
        serializer: EventSerializer,
        *,
        known_head: Callable[[str], int | None],
        placed: Callable[[CommitResult], None],
        deadline: float,
    ) -> None:
        self._connect = connect
        self._serializer = serializer
        self._known_head = known_head
        self._placed = placed
        self._deadline = deadline
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._ended = False
        self._connection: asyncpg.Connection[Any] | None = None
        self._began = 0.0
        self.batches = Histogram(SIZES)
        self.commits = Histogram()
        self.outcomes: Counter[Outcome] = Counter()
        self.retries = 0
        self.unavailable = 0

    def offer(self, entry: AppendRequest) -> "asyncio.Future[AppendResult]":
        """Queue an entry; the future resolves after its commit, or raises `Unavailable`.

        Raises:
            Overloaded: the queue is full; nothing was queued.
        """
        if len(self._queue) >= MAX_QUEUED or self._queued_bytes + entry.size > MAX_QUEUED_BYTES:
            raise Overloaded
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        if self._ended:
            future.set_exception(Unavailable())
            return future
        self._queue.append((entry, future))
        self._queued_bytes += entry.size
        self._wake.set()
        return future

    async def run(self) -> None:
        """Append until cancelled; what is in flight or still queued then is answered `Unavailable`."""
        batch: list[_Waiting] = []
        self._ended = False
        try:
            while True:
                await self._wake.wait()
                while batch := self._take():
                    await self._append(batch)
                self._wake.clear()
        finally:
            self._ended = True
            self._fail([*batch, *self._queue])
            self._queue.clear()
            self._queued_bytes = 0
            if self._connection is not None:
                self._connection.terminate()

    @property
    def queued(self) -> int:
        """How many entries wait for the next commit."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """Roughly the bytes of those that wait."""
        return self._queued_bytes

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        events = size = 0
        while self._queue:
            entry = self._queue[0][0]
            events += max(1, len(entry.events))
            size += entry.size
            if batch and (events > MAX_BATCH_EVENTS or size > MAX_BATCH_BYTES):
                break
            batch.append(self._queue.popleft())
            self._queued_bytes -= entry.size
        return batch

    async def _append(self, batch: list[_Waiting]) -> None:
        entries = [entry for entry, _ in batch]
        try:
            rows = await self._commit(entries)
        except Unavailable:
            self._fail(batch)
        except Exception:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._append(batch[:middle])
                await self._append(batch[middle:])
            else:
                log.exception("not_appended", extra={"stream": entries[0].stream})
                self._fail(batch)
        else:
            self._settle(batch, rows)

    async def _commit(self, entries: list[AppendRequest]) -> list[Any]:
        """Send the batch until there is an answer; every try sends the same."""
        sent = arguments(entries, self._known_head)
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        until = self._began + self._deadline
        while True:
            try:
                async with asyncio.timeout_at(until):
                    connection = await self._connected()
                    rows = await connection.fetch(APPEND, *sent)
            except TROUBLE as error:
                if not is_transient(error):
                    raise
                self.retries += 1
                log.warning("append_retry", extra={"problem": error})
                self._drop_connection()
                if loop.time() >= until:
                    raise Unavailable from error
                await asyncio.sleep(PAUSE)
            else:
                self.commits.observe(loop.time() - self._began)
                return rows

    async def _connected(self) -> "asyncpg.Connection[Any]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            # Its state is unknown: a commit may still be under way on it.
            self._connection.terminate()
            self._connection = None

    def _settle(self, batch: list[_Waiting], rows: list[Any]) -> None:
        result = read_batch([entry for entry, _ in batch], rows, self._serializer)
        result.began = self._began
        self.batches.observe(sum(map(len, result.written.values())))
        self.outcomes.update(placed.outcome for placed in result.placed)
        # Whoever waits goes on when this is over, and before the rest of what is delivered in turns.
        for (_, future), placed in zip(batch, result.placed, strict=True):
            if not future.done():
                future.set_result(placed)
        try:
            self._placed(result)
        except Exception:
            # It is committed: whoever waits is told so, and the tail reader brings the news.
            log.exception("delivery_failed")

    def _fail(self, batch: list[_Waiting]) -> None:
        for _, future in batch:
            if not future.done():
                self.unavailable += 1
                future.set_exception(Unavailable())
