"""Supervises background tasks: none dies silently, and none outlives its owner."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from service.errors import Trouble
from service.runtime.database_retry import TROUBLE, is_transient

log = logging.getLogger("onrecord.supervise")

PAUSE = 1.0
"""Seconds before failed work is restarted."""

WELL_AFTER = 60.0
"""Seconds without an error after which the next transient error is logged again; longer than any deadline."""


async def keep_running(name: str, work: Callable[[], Awaitable[object]], failures: Counter[str]) -> None:
    """Run `work` until cancelled; log its failures, count them by name in `failures`, and restart it.

    Of repeated transient errors, which are not failures, the first is logged, until the work has run for `WELL_AFTER`
    seconds.
    """
    clock = asyncio.get_running_loop().time
    well = True
    while True:
        began = clock()
        try:
            await work()
        except (Trouble, *TROUBLE) as error:
            well = well or clock() - began > WELL_AFTER
            if not isinstance(error, Trouble) and not is_transient(error):
                _log_failure(name, error, failures)
            elif well:
                log.warning("task_waits", extra={"task": name, "problem": error})
            well = False
        except Exception as error:  # noqa: BLE001 - it is logged
            _log_failure(name, error, failures)
        else:
            failures[name] += 1
            log.error("task_ended", extra={"task": name})
        await asyncio.sleep(PAUSE)


def _log_failure(name: str, error: Exception, failures: Counter[str]) -> None:
    failures[name] += 1
    log.error("task_failed", extra={"task": name}, exc_info=error)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` now, and again after each pause of so many seconds."""
    while True:
        await work()
        await asyncio.sleep(seconds)


def start_task(name: str, work: Coroutine[Any, Any, None], running: "set[asyncio.Task[None]]") -> None:
    """Run `work` in a task that is in `running` until it ends; log its failure when it happens."""
    task = asyncio.create_task(work, name=name)
    running.add(task)
    task.add_done_callback(partial(_ended, running))


def _ended(running: "set[asyncio.Task[None]]", task: "asyncio.Task[None]") -> None:
    running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task_failed", extra={"task": task.get_name()}, exc_info=error)


@asynccontextmanager
async def background(
    failures: Counter[str] | None = None, /, **works: Callable[[], Coroutine[Any, Any, object]]
) -> AsyncIterator[None]:
    """Keep named pieces of work running for as long as the block lasts; count their failures by name, from 0."""
    failures = Counter() if failures is None else failures
    failures.update(dict.fromkeys(works, 0))
    tasks = [
        asyncio.create_task(keep_running(name, work, failures), name=name) for name, work in works.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
