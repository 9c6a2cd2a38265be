"""Gives costly work of many clients its turns, so that everything else on the event loop runs between them.

Work that a client can cause before the node knows who it is, and commands that cost more than an ordinary one, pass
here. Ordinary commands, acks and deliveries do not, so they wait for one piece of such work at most, however many
clients cause it at once.

Invariant: the pieces take at most `SHARE` of the loop's time, apart from `BURST` seconds at once. Keys (addresses,
users) take turns, so that the work of one delays that of another by one piece at a time; each waiting piece belongs to
a connection, which adds no second one before.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter

SHARE = 0.5
"""The share of the event loop's time that all pieces take together."""

BURST = 0.002
"""Seconds of work that an idle loop does at once."""


class Turns:
    """The turns of one event loop; `clock` gives seconds."""

    def __init__(
        self, share: float = SHARE, burst: float = BURST, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._share = share
        self._burst = burst / share
        self._clock = clock
        self._full_at = 0.0  # when the allowance is full again: the cell rate algorithm, as in `cell_rate`
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()
        self._scheduled = False
        self._began = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def run(self, key: str, work: Callable[[], None]) -> None:
        """Run a piece of work: at once if none waits and the allowance permits it, else in its turn."""
        if self._scheduled or self._rest() > 0:
            self.wait(key, work)
        else:
            self._run(work)

    async def turn(self, key: str) -> None:
        """Return when the caller has its turn; what it does until it next yields is its piece of work."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wait(key, lambda: self._wake(turn))
        await turn

    def wait(self, key: str, work: Callable[[], None]) -> None:
        """Run a piece of work in its turn, in a later iteration of the loop."""
        self._waiting.setdefault(key, deque()).append(work)
        self._schedule()

    def _rest(self) -> float:
        """Return the seconds until the allowance permits a piece of work."""
        return self._full_at - self._clock() - self._burst

    def _schedule(self) -> None:
        if not self._scheduled and self._waiting:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            if (rest := self._rest()) > 0:
                loop.call_later(rest, self._next)
            else:
                loop.call_soon(self._next)

    def _next(self) -> None:
        """Run the first piece of the key that has waited longest, one in each iteration of the loop."""
        self._scheduled = False
        key, pieces = self._waiting.popitem(last=False)
        work = pieces.popleft()
        if pieces:
            self._waiting[key] = pieces
        try:
            self._run(work)
        finally:
            self._schedule()

    def _run(self, work: Callable[[], None]) -> None:
        began = self._clock()
        try:
            work()
        finally:
            self._spend(began)

    def _spend(self, began: float) -> None:
        now = self._clock()
        self._full_at = max(self._full_at, began) + (now - began) / self._share

    def _wake(self, turn: "asyncio.Future[None]") -> None:
        """Wake a waiting task between two notes of the time; the loop runs them directly before and after it."""
        if turn.done():  # its task was cancelled
            return
        loop = asyncio.get_running_loop()
        self._scheduled = True  # nobody else has a turn before its time is noted
        loop.call_soon(self._begin)
        turn.set_result(None)
        loop.call_soon(self._end)

    def _begin(self) -> None:
        self._began = self._clock()

    def _end(self) -> None:
        self._spend(self._began)
        self._scheduled = False
        self._schedule()
