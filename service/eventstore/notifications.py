"""Hearing from Postgres that something was appended: `chat_append` sends one NOTIFY per batch.

It is a hint and no more: notifications are lost while no connection listens, so whoever waits also looks by itself.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    import asyncpg

CHANNEL = "stored_events"
CHECK_EVERY = 5.0
"""Seconds between two looks at whether the connection still lives, for a network that swallows everything."""

PAUSE = 0.5
"""Seconds before a lost connection is made anew."""

log = logging.getLogger("onrecord.notify")


class Waker:
    """Wakes whoever waits for something new in the log."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def wake(self) -> None:
        """Something was appended, or may have been."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, count: int, seconds: float) -> None:
        """Wait for a ring later than the one numbered `count`, or for so long."""
        if self.count == count:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._next.wait()


async def listen(connect: Callable[[], Any], hearers: Sequence[Callable[[], None]], deadline: float) -> None:
    """Call all `hearers` whenever something was appended, and whenever listening begins, until cancelled."""
    lost = False

    def hear(*_notification: object) -> None:
        for hearer in hearers:
            hearer()

    while True:
        try:
            async with asyncio.timeout(deadline):
                connection: asyncpg.Connection[Any] = await connect()
            try:
                async with asyncio.timeout(deadline):
                    await connection.add_listener(CHANNEL, hear)
                hear()
                lost = False
                await _alive(connection, deadline)
            finally:
                connection.terminate()
        except TROUBLE as error:
            if not lost:
                log.warning("notify_lost", extra={"problem": error})
            lost = True
        await asyncio.sleep(PAUSE)


async def _alive(connection: Any, deadline: float) -> None:
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _connection: ended.set())
    while not ended.is_set():
        try:
            async with asyncio.timeout(CHECK_EVERY):
                await ended.wait()
        except TimeoutError:
            async with asyncio.timeout(deadline):
                await connection.fetchval("SELECT 1")
