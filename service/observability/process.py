"""What stops a process from answering in time: the event loop's lag, and pauses of the garbage collector."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from service.observability.exposition import Sheet
from service.observability.histogram import Histogram

EVERY = 0.25
"""Seconds between two looks at how late the loop is."""

GENERATIONS = 3


class ProcessMetrics:
    """Measures for as long as `run` runs and `watching_gc` lasts; `node` names the process."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._lag = Histogram()
        self._pauses = [Histogram() for _ in range(GENERATIONS)]
        self._collecting = 0.0

    async def run(self) -> None:
        """Measure the loop's lag until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + EVERY
            await asyncio.sleep(EVERY)
            self._lag.observe(max(0.0, clock() - due))

    @contextmanager
    def watching_gc(self) -> Iterator[None]:
        """Measure collections; two calls of a function for each, and they come seldom."""
        gc.callbacks.append(self._collects)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collects)

    def write(self, sheet: Sheet) -> None:
        """Be a `Source`."""
        sheet.put("onrecord_build_info", 1, version("onrecord"), self._node)
        sheet.put("onrecord_loop_lag_seconds", self._lag)
        for generation, pauses in enumerate(self._pauses):
            sheet.put("onrecord_gc_pause_seconds", pauses, str(generation))

    def _collects(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self._pauses[about["generation"]].observe(time.perf_counter() - self._collecting)
