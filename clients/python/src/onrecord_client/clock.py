"""Time as the client measures it: intervals by the event loop, sleep and expiry by the wall clock."""

import asyncio
from collections.abc import Callable

ASLEEP_S = 10.0
"""Seconds by which the wall clock runs ahead of the event loop's where the machine slept."""


class Sleep:
    """Notices that the machine slept: then the wall clock runs ahead of the event loop's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wall, self._loop = clock(), asyncio.get_running_loop().time()

    def noticed(self) -> bool:
        """Return whether the machine slept since the last call."""
        wall, loop = self._clock(), asyncio.get_running_loop().time()
        ahead = (wall - self._wall) - (loop - self._loop)
        self._wall, self._loop = wall, loop
        return ahead > ASLEEP_S
