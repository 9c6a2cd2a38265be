"""Splits long work on the event loop into slices, between which commands, acks and heartbeats run."""

import asyncio
from time import perf_counter

TURN = 0.003
"""Seconds of one slice."""


class TimeSlice:
    """The slices of one piece of work, of `seconds` each, the first of which begins now."""

    def __init__(self, seconds: float = TURN) -> None:
        self._seconds = seconds
        self._until = perf_counter() + seconds

    async def over(self) -> None:
        """Yield to the event loop if the current slice has ended."""
        if perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = perf_counter() + self._seconds
