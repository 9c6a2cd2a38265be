"""The database's time, which is the only one: told by this node's steady clock since the database was last asked.

Bans and mutes that end by themselves are measured by it. Wrong by half a round trip, and by whatever the database's own
clock was moved since it was last asked.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.log.trouble import patiently

if TYPE_CHECKING:
    import asyncpg


class Clock:
    """Tells the time, the better once `ask` was awaited; a query may take `deadline` seconds."""

    def __init__(self, database: "asyncpg.Pool[Any]", deadline: float) -> None:
        self._database = database
        self._deadline = deadline
        # Until the database was asked, this machine's own.
        self._origin = datetime.now(UTC) - timedelta(seconds=asyncio.get_running_loop().time())

    async def ask(self) -> None:
        """Ask the database.

        Raises:
            Unavailable: it does not answer.
        """
        self._origin = await patiently(self._measure, self._deadline)

    def now(self) -> datetime:
        """Return the database's time, UTC."""
        return self._origin + timedelta(seconds=asyncio.get_running_loop().time())

    async def _measure(self) -> datetime:
        """Return when this node's steady clock stood at zero."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        told: datetime = await self._database.fetchval("SELECT clock_timestamp()")
        return told - timedelta(seconds=(before + loop.time()) / 2)
