"""The database's time, which all nodes use: this node's monotonic clock, corrected by querying the database.

Bans and mutes that expire are measured by it. It lags by the latency of the reply, so nothing expires early; and it is
wrong by any change of the database's own clock since the last query.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg


ASK_EVERY = 60.0
"""Seconds between two queries."""

PAUSE = 1.0
"""Least seconds between two queries, at any rate of `doubt`."""


class Clock:
    """Returns the time, this machine's until the database was `asked`; a query may take `deadline` seconds."""

    def __init__(self, database: "asyncpg.Pool[Any]", deadline: float) -> None:
        self._database = database
        self._deadline = deadline
        self._time = asyncio.get_running_loop().time
        # This machine's, until the database was asked.
        self._origin = datetime.now(UTC).timestamp() - self._time()
        self._doubted = asyncio.Event()
        self.asked = False

    async def ask(self) -> None:
        """Query the database's time.

        Raises:
            Unavailable: it does not answer.
        """
        self._origin = await retry_read(self._measure, self._deadline)
        self.asked = True

    def doubt(self) -> None:
        """Make `run` query soon, since this clock and another node's differ."""
        self._doubted.set()

    def forget(self) -> None:
        """Query again: the database may be another one, on another machine."""
        self.asked = False
        self.doubt()

    async def run(self) -> None:
        """Query now, every `ASK_EVERY` seconds and after `doubt`, until cancelled.

        Raises:
            Unavailable: the database does not answer.
        """
        while True:
            self._doubted.clear()
            await self.ask()
            await asyncio.sleep(PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY):
                    await self._doubted.wait()

    def microseconds(self) -> int:
        """Return the database's time in microseconds since 1970."""
        return int((self._origin + self._time()) * 1_000_000)

    def now(self) -> datetime:
        """Return the database's time, UTC."""
        return datetime.fromtimestamp(self._origin + self._time(), UTC)

    async def _measure(self) -> float:
        """Return the time at which this node's monotonic clock was zero, in seconds since 1970."""
        answered: datetime = await self._database.fetchval("SELECT clock_timestamp()")
        # That was the time of the reply, whose age is not known, so now it is that or later.
        return answered.timestamp() - self._time()
