"""Background work that has to go on: no task dies silently, and none is left behind."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

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
