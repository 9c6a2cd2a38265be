"""Receives a NOTIFY from Postgres when events were appended: `chat_append` sends one per batch.

Notifications are lost while no connection listens, so each receiver also polls.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from service.eventstore.connections import NoSession
from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    import asyncpg

CHANNEL = "stored_events"
CHECK_EVERY = 5.0
"""Seconds between two checks of the connection, which detect a network that drops packets silently."""

PAUSE = 0.5
"""Seconds before a reconnect."""

log = logging.getLogger("onrecord.notify")


class Waker:
    """Wakes tasks that wait for new events."""

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def wake(self) -> None:
        """Wake all waiting tasks: events may have been appended."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, count: int, seconds: float) -> None:
        """Wait until `self.count` exceeds `count`, at most `seconds`."""
        if self.count == count:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._next.wait()


async def listen(
    connect: Callable[[], Any], listeners: Sequence[Callable[[], None]], deadline: float
) -> None:
    """Call all `listeners` when events were appended and when listening starts, until cancelled.

    Without a session it calls none: the listeners poll.
    """
    lost = False

    def notify(*_notification: object) -> None:
        for listener in listeners:
            listener()

    while True:
        try:
            async with asyncio.timeout(deadline):
                connection: asyncpg.Connection[Any] = await connect()
            try:
                async with asyncio.timeout(deadline):
                    await connection.add_listener(CHANNEL, notify)
                notify()
                lost = False
                await _check_until_lost(connection, deadline)
            finally:
                connection.terminate()
        except NoSession as problem:
            log.warning("notify_off", extra={"problem": str(problem)})
            await asyncio.Event().wait()
        except TROUBLE as error:
            if not lost:
                log.warning("notify_lost", extra={"problem": error})
            lost = True
        await asyncio.sleep(PAUSE)


async def _check_until_lost(connection: Any, deadline: float) -> None:
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _connection: ended.set())
    while not ended.is_set():
        try:
            async with asyncio.timeout(CHECK_EVERY):
                await ended.wait()
        except TimeoutError:
            async with asyncio.timeout(deadline):
                await connection.fetchval("SELECT 1")
