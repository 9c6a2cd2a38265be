"""Background work that has to go on: no task dies silently, and none is left behind."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger("onrecord.supervise")

PAUSE = 1.0
"""Seconds before work that failed is begun again."""


async def keep_running(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` until cancelled; where it fails, say so and begin it again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("task_failed", extra={"task": name})
        else:
            log.error("task_ended", extra={"task": name})
        await asyncio.sleep(PAUSE)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` now and then every so many seconds."""
    while True:
        await work()
        await asyncio.sleep(seconds)


@asynccontextmanager
async def background(**works: Callable[[], Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Keep pieces of work running for as long as the block lasts."""
    tasks = [asyncio.create_task(keep_running(name, work), name=name) for name, work in works.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
