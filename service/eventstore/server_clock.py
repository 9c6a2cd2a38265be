"""The database's time, which is the only one: told by this node's steady clock since the database was last asked.

Bans and mutes that end by themselves are measured by it. Behind by the way of an answer, so that nothing ends before
its time; and wrong by whatever the database's own clock was moved since it was last asked.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg


ASK_EVERY = 60.0
"""Seconds between two questions for the database's time."""

PAUSE = 1.0
"""Seconds between two questions at least, however often the answer is doubted."""


class Clock:
    """Tells the time, the better once it was `asked`; a query may take `deadline` seconds."""

    def __init__(self, database: "asyncpg.Pool[Any]", deadline: float) -> None:
        self._database = database
        self._deadline = deadline
        self._time = asyncio.get_running_loop().time
        # Until the database was asked, this machine's own.
        self._origin = datetime.now(UTC).timestamp() - self._time()
        self._doubted = asyncio.Event()
        self.asked = False

    async def ask(self) -> None:
        """Ask the database.

        Raises:
            Unavailable: it does not answer.
        """
        self._origin = await retry_read(self._measure, self._deadline)
        self.asked = True

    def doubt(self) -> None:
        """Have `run` ask soon: this clock and that of another node differ."""
        self._doubted.set()

    def forget(self) -> None:
        """Count as not asked: the database may be another one, on another machine."""
        self.asked = False
        self.doubt()

    async def run(self) -> None:
        """Ask now and then every `ASK_EVERY` seconds, or after `doubt`, until cancelled.

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
        """Return when this node's steady clock stood at zero, in seconds since 1970."""
        told: datetime = await self._database.fetchval("SELECT clock_timestamp()")
        # It was that time then. How long ago is not known, so now it is that or later.
        return told.timestamp() - self._time()
