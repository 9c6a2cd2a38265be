"""Group commit: the entries that queue up while a commit is in flight form the next batch.

Each node has one task, one batch in flight and no timer. The queue is bounded by count and bytes; when it is full,
`offer` raises `Overloaded` and records nothing. A batch whose reply was lost is sent again unchanged: refs make that
safe. A batch that fails for another reason is split until the faulty entry is alone.

Invariant: an entry is answered only after its commit: a task that awaits its future continues after `on_commit`, and a
callback is called after it.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from service.errors import OnRecordError, Overloaded, Unavailable
from service.eventstore.connections import is_shared
from service.eventstore.entries import (
    APPEND_TEXT,
    AppendRequest,
    AppendResult,
    CommitResult,
    Outcome,
    arguments,
    as_text,
    read_batch,
)
from service.eventstore.serializer import EventSerializer
from service.observability.histogram import SIZES, Histogram
from service.runtime.database_retry import PAUSE, TROUBLE, is_transient, retry_read

if TYPE_CHECKING:
    import asyncpg

MAX_BATCH_EVENTS = 200
MAX_BATCH_BYTES = 500_000
EXPIRY_BATCH = 10_000
"""Refs deleted in one statement."""

READ_COMMITTED = "SET default_transaction_isolation = 'read committed'"
"""For the appender's session: `chat_append` takes its lock before it reads, so each read has to see what was committed
by then."""

MAX_QUEUED = 20_000
MAX_QUEUED_BYTES = 64 * 1024 * 1024

T = TypeVar("T")

log = logging.getLogger("onrecord.append")

Answer = Callable[[AppendResult | OnRecordError], None]
"""Called with the result of an entry. The appender's only error is `Unavailable`: it may have been appended or not."""


class _Waiting(msgspec.Struct, gc=False):
    """An entry, answered after the delivery of its batch, or `early`: a future, whose task continues after it too."""

    entry: AppendRequest
    size: int
    answer: Answer
    early: bool = False
    answered: bool = False


class Appender:
    """Appends all events of a node.

    `known_head` returns the last seq of a stream that this node holds (None: it does not follow the stream);
    `on_commit` is called with each batch right after its commit. For metrics: `batches` (events in each), `commits`
    (seconds of each), `outcomes` of entries, `retries` of batches, `unavailable` (entries that were given up), and the
    approximate `queued_bytes`.
    """

    def __init__(
        self,
        connect: "Callable[[], Any]",
        serializer: EventSerializer,
        *,
        known_head: Callable[[str], int | None],
        on_commit: Callable[[CommitResult], None],
        deadline: float,
    ) -> None:
        self._connect = connect
        self._serializer = serializer
        self._known_head = known_head
        self._on_commit = on_commit
        self._deadline = deadline
        self._queue: deque[_Waiting] = deque()
        self.queued_bytes = 0
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
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._queue_up(_Waiting(entry, entry.size, partial(resolve, future), early=True))
        return future

    def place(self, entry: AppendRequest, answer: Answer) -> None:
        """Queue an entry; `answer` is called once, in the iteration of the loop that ends the commit.

        Raises:
            Overloaded: the queue is full; nothing was queued.
        """
        self._queue_up(_Waiting(entry, entry.size, answer))

    def _queue_up(self, waiting: _Waiting) -> None:
        if len(self._queue) >= MAX_QUEUED or self.queued_bytes + waiting.size > MAX_QUEUED_BYTES:
            raise Overloaded
        if self._ended:
            self._fail([waiting])
            return
        if not self._queue:
            self._wake.set()
        self._queue.append(waiting)
        self.queued_bytes += waiting.size

    async def run(self) -> None:
        """Append until cancelled; entries in flight or queued at that time are answered `Unavailable`."""
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
            self.queued_bytes = 0
            if self._connection is not None:
                self._connection.terminate()

    @property
    def queued(self) -> int:
        """Entries that wait for the next commit."""
        return len(self._queue)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        events = size = 0
        while self._queue:
            waiting = self._queue[0]
            events += max(1, len(waiting.entry.events))
            size += waiting.size
            if batch and (events > MAX_BATCH_EVENTS or size > MAX_BATCH_BYTES):
                break
            batch.append(self._queue.popleft())
            self.queued_bytes -= waiting.size
        return batch

    async def _append(self, batch: list[_Waiting]) -> None:
        entries = [waiting.entry for waiting in batch]
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
        """Send the batch, unchanged each time, until Postgres answers."""
        sent = as_text(arguments(entries, self._known_head))
        loop = asyncio.get_running_loop()
        self._began, until = monotonic(), loop.time() + self._deadline
        while True:
            try:
                async with asyncio.timeout_at(until):
                    connection = await self._connected()
                    if is_shared(connection):
                        rows = await _append_in_transaction(connection, sent)
                    else:
                        rows = await connection.fetch(APPEND_TEXT, *sent)
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
                self.commits.observe(monotonic() - self._began)
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
        result = read_batch([waiting.entry for waiting in batch], rows, self._serializer)
        result.began = self._began
        self.batches.observe(sum(map(len, result.written.values())))
        for each in result.results:
            self.outcomes[each.outcome] += 1
        # The waiting tasks continue after `_on_commit`, and before deliveries that it schedules for later.
        _answer(batch, result.results, early=True)
        try:
            self._on_commit(result)
        except Exception:
            # The batch is committed: its entries are answered, and the log tailer delivers the events.
            log.exception("delivery_failed")
        _answer(batch, result.results, early=False)

    def _fail(self, batch: list[_Waiting]) -> None:
        # Of a batch that was split, a part may have its answers when the rest fails.
        left = [waiting for waiting in batch if not waiting.answered]
        self.unavailable += len(left)
        for early in (True, False):
            _answer(left, [Unavailable() for _ in left], early=early)


def _answer(batch: list[_Waiting], results: Sequence[AppendResult | OnRecordError], *, early: bool) -> None:
    """Answer some entries of a batch; an error of one answer does not keep the others from theirs."""
    for waiting, result in zip(batch, results, strict=True):
        if waiting.early is early:
            waiting.answered = True
            try:
                waiting.answer(result)
            except Exception:
                log.exception("answer_failed")


def resolve(future: "asyncio.Future[T]", result: T | OnRecordError) -> None:
    """Resolve a future with a result or an error, unless what awaits it has gone."""
    if future.done():
        return
    if isinstance(result, OnRecordError):
        future.set_exception(result)
    else:
        future.set_result(result)


async def _append_in_transaction(connection: "asyncpg.Connection[Any]", sent: tuple[Any, ...]) -> list[Any]:
    """Append over a shared session, whose default isolation level cannot be set."""
    async with connection.transaction(isolation="read_committed"):
        return await connection.fetch(APPEND_TEXT, *sent)


async def delete_old_refs(database: "asyncpg.Pool[Any]", deadline: float) -> int:
    """Delete refs older than seven days, a batch at a time, each within `deadline` seconds; return how many.

    So a retry gets the first answer for seven days, and the table does not grow without bound.

    Raises:
        Unavailable: the database cannot be reached.
    """
    total = 0
    while deleted := await retry_read(
        lambda: database.fetchval("SELECT forget_refs($1)", EXPIRY_BATCH), deadline
    ):
        total += deleted
    return total
