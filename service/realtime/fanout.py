"""Round-robin scheduler for room fan-out, with a time slice.

The slice bounds one turn of the event loop, since commands, acks and heartbeats wait for it. A room that had its turn
goes to the end of the queue; events that arrive for it by then are written together.

Invariant: if more than `MOST_WAITING` events of a room are queued, the caller that adds more waits until all are
written.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter

from service.realtime.encoded_event import WriteBatch
from service.realtime.room_subscribers import RoomSubscribers

LONGEST_TURN = 0.02
SHARE = 2.0
"""Where the loop has much else to do, turns become longer: so many times what that took since the last turn."""

MOST_WAITING = 1_000


class FanoutScheduler:
    """Writes what the crowds have waiting, from `go` on; `written` hears of each stretch that everybody has.

    A `turn` has so many seconds at the least.
    """

    def __init__(self, written: Callable[[RoomSubscribers, WriteBatch], None], turn: float) -> None:
        self._written = written
        self._turn = turn
        self._queue: OrderedDict[RoomSubscribers, None] = OrderedDict()
        self._later: asyncio.Handle | None = None

    @property
    def busy(self) -> bool:
        """Whether something waits."""
        return bool(self._queue)

    def add(self, crowd: RoomSubscribers) -> None:
        """Have a crowd written what waits there, from the next `go` on."""
        self._queue[crowd] = None
        if crowd.waiting > MOST_WAITING:
            self.finish()

    def go(self) -> None:
        """Write now what one turn has time for, unless others wait already, and the rest soon."""
        if self._later is None:
            self._take_turn(self._turn)

    def finish(self) -> None:
        """Write everything now."""
        while self._queue:
            self._write_next(lambda: False)

    def stop(self) -> None:
        """Write no more."""
        self._queue.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _take_turn(self, seconds: float) -> None:
        until = perf_counter() + seconds
        try:
            while self._queue:
                self._write_next(lambda: perf_counter() >= until)
                if perf_counter() >= until:
                    break
        finally:
            ended = perf_counter()
            # Others come first, once.
            self._later = asyncio.get_running_loop().call_soon(self._go_on, ended) if self._queue else None

    def _go_on(self, ended: float) -> None:
        elsewhere = perf_counter() - ended
        self._take_turn(max(self._turn, min(LONGEST_TURN, SHARE * elsewhere)))

    def _write_next(self, enough: Callable[[], bool]) -> None:
        crowd, _ = self._queue.popitem(last=False)
        if (stretch := crowd.write(enough)) is not None:
            self._written(crowd, stretch)
        if crowd.waiting:
            self._queue[crowd] = None
