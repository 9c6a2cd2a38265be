"""Long work on the loop, done a little at a time: commands, acks and heartbeats come in between."""

import asyncio
from time import perf_counter

TURN = 0.003
"""Seconds for which the loop does nothing else."""


class TimeSlice:
    """The turns of one piece of work, the first of which begins now."""

    def __init__(self) -> None:
        self._until = perf_counter() + TURN

    async def over(self) -> None:
        """Let others do something where this turn has lasted long enough."""
        if perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = perf_counter() + TURN
