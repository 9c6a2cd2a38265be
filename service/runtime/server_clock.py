"""The database's time, which all nodes use: this node's monotonic clock plus an offset that is queried regularly.

The expiry of bans and mutes is decided by it. It lags by the latency of the reply, so that nothing expires early. It is
wrong by any change of the database's own clock since the last query.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

QUERY_INTERVAL = 60.0
"""Seconds between two queries."""

PAUSE = 1.0
"""Minimum seconds between two queries, however often `request_sync` is called."""


class ServerClock:
    """Returns the database's time, or this machine's until it is `synchronized`; `deadline` of a query in seconds."""

    def __init__(self, database: "asyncpg.Pool[Any]", deadline: float) -> None:
        self._database = database
        self._deadline = deadline
        self._time = time.monotonic
        self._origin = datetime.now(UTC).timestamp() - self._time()
        self._sync_requested = asyncio.Event()
        self.synchronized = False

    async def synchronize(self) -> None:
        """Query the database's time.

        Raises:
            Unavailable: the database does not answer.
        """
        self._origin = await retry_read(self._measure, self._deadline)
        self.synchronized = True

    def request_sync(self) -> None:
        """Make `run` query soon, because this clock and another node's differ."""
        self._sync_requested.set()

    def invalidate(self) -> None:
        """Count as not synchronized: the database may be another one, on another machine."""
        self.synchronized = False
        self.request_sync()

    async def run(self) -> None:
        """Query now, every `QUERY_INTERVAL` seconds and after `request_sync`, until cancelled.

        Raises:
            Unavailable: the database does not answer.
        """
        while True:
            self._sync_requested.clear()
            await self.synchronize()
            await asyncio.sleep(PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(QUERY_INTERVAL):
                    await self._sync_requested.wait()

    def microseconds(self) -> int:
        """Return the database's time in microseconds since 1970."""
        return int((self._origin + self._time()) * 1_000_000)

    def now(self) -> datetime:
        """Return the database's time, UTC."""
        return datetime.fromtimestamp(self._origin + self._time(), UTC)

    async def _measure(self) -> float:
        """Return the time at which this node's monotonic clock was zero, in seconds since 1970."""
        # The database read its clock before it replied, so its time now is this or later.
        answered: datetime = await self._database.fetchval("SELECT clock_timestamp()")
        return answered.timestamp() - self._time()
