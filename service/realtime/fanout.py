"""Schedules the writes of events to the subscribers of rooms, round-robin with a time slice.

The time slice bounds a turn of the event loop, because commands, acks and heartbeats wait for it. A room whose slice
has ended goes to the end of the queue; events that arrive for it in the meantime are written together.

Invariant: when more than `MOST_WAITING` events of a room are queued, all queued events are written at once, before the
caller that added the last one continues.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter

from service.realtime.encoded_event import WriteBatch
from service.realtime.room_subscribers import RoomSubscribers

LONGEST_TURN = 0.02
"""Maximum seconds of a turn."""

SHARE = 2.0
"""The length of a turn as a multiple of the time that other work took since the last turn."""

MOST_WAITING = 1_000
"""Events of one room that may be queued."""


class FanoutScheduler:
    """Writes queued events of rooms in turns; `written` is called with each batch that all subscribers have received.

    `turn` is the minimum length of a turn in seconds.
    """

    def __init__(self, written: Callable[[RoomSubscribers, WriteBatch], None], turn: float) -> None:
        self._written = written
        self._turn = turn
        self._queue: OrderedDict[RoomSubscribers, None] = OrderedDict()
        self._later: asyncio.Handle | None = None

    @property
    def busy(self) -> bool:
        """Whether events are queued."""
        return bool(self._queue)

    def add(self, room: RoomSubscribers) -> None:
        """Queue a room that has events to write, for the next `start`."""
        self._queue[room] = None
        if room.waiting > MOST_WAITING:
            self.finish()

    def start(self) -> None:
        """Take a turn now, unless a later one is scheduled; schedule the next one if events are left."""
        if self._later is None:
            self._take_turn(self._turn)

    def finish(self) -> None:
        """Write all queued events now."""
        while self._queue:
            self._write_next(lambda: False)

    def stop(self) -> None:
        """Discard the queue and cancel the scheduled turn."""
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
            # The event loop runs its other callbacks before the next turn.
            self._later = asyncio.get_running_loop().call_soon(self._continue, ended) if self._queue else None

    def _continue(self, ended: float) -> None:
        other_work = perf_counter() - ended
        self._take_turn(max(self._turn, min(LONGEST_TURN, SHARE * other_work)))

    def _write_next(self, out_of_time: Callable[[], bool]) -> None:
        room, _ = self._queue.popitem(last=False)
        if (batch := room.write(out_of_time)) is not None:
            self._written(room, batch)
        if room.waiting:
            self._queue[room] = None
