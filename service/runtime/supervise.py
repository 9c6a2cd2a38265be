"""Supervises background tasks: none dies silently, and none outlives its owner."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from service.errors import Trouble
from service.runtime.database_retry import TROUBLE, is_transient

log = logging.getLogger("onrecord.supervise")

PAUSE = 1.0
"""Seconds before failed work is restarted."""

WELL_AFTER = 60.0
"""Seconds without an error after which the next transient error is logged again; longer than any deadline."""


async def keep_running(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` until cancelled; log its failures and restart it.

    Of repeated transient errors the first is logged, until the work has run for `WELL_AFTER` seconds.
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
                log.exception("task_failed", extra={"task": name})
            elif well:
                log.warning("task_waits", extra={"task": name, "problem": error})
            well = False
        except Exception:
            log.exception("task_failed", extra={"task": name})
        else:
            log.error("task_ended", extra={"task": name})
        await asyncio.sleep(PAUSE)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` now, and again after each pause of so many seconds."""
    while True:
        await work()
        await asyncio.sleep(seconds)


@asynccontextmanager
async def background(**works: Callable[[], Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Keep named pieces of work running for as long as the block lasts."""
    tasks = [asyncio.create_task(keep_running(name, work), name=name) for name, work in works.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
