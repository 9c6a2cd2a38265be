"""Measures what delays a process, and what fails in it: loop lag, garbage collection, background tasks."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from service.observability.exposition import Sheet
from service.observability.histogram import Histogram

INTERVAL = 0.25
"""Seconds between two measurements of the loop's lag."""

GENERATIONS = 3


class ProcessMetrics:
    """Measures while `run` and `watching_gc` run; `node` names the process.

    `task_failures` counts the failures of background tasks by name (`supervise.background`).
    """

    def __init__(self, node: str) -> None:
        self.task_failures: Counter[str] = Counter()
        self._node = node
        self._lag = Histogram()
        self._pauses = [Histogram() for _ in range(GENERATIONS)]
        self._gc_started = 0.0

    async def run(self) -> None:
        """Measure the loop's lag until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._lag.observe(max(0.0, clock() - due))

    @contextmanager
    def watching_gc(self) -> Iterator[None]:
        """Measure garbage collections; each costs two function calls."""
        gc.callbacks.append(self._on_gc)
        try:
            yield
        finally:
            gc.callbacks.remove(self._on_gc)

    def write(self, sheet: Sheet) -> None:
        """Write the numbers; a `Source`."""
        sheet.put("onrecord_build_info", 1, version("onrecord"), self._node)
        sheet.put("onrecord_loop_lag_seconds", self._lag)
        for generation, pauses in enumerate(self._pauses):
            sheet.put("onrecord_gc_pause_seconds", pauses, str(generation))
        for task, failures in self.task_failures.items():
            sheet.put("onrecord_task_failures_total", failures, task)

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started = time.perf_counter()
        else:
            self._pauses[info["generation"]].observe(time.perf_counter() - self._gc_started)
