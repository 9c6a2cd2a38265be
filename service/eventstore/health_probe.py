"""Reports whether the log answers now, over a connection of its own, to any number of callers.

Invariant: one query is under way at a time, and none starts within `FRESH` seconds of the one before. So `/readyz`
queries the database twice a second at most, at any rate of requests, and an exhausted pool makes no node unready. A
reported state is at most `WITHIN` seconds old.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    import asyncpg

FRESH = 0.5
"""Seconds from the start of a query for which its result is reused."""

WITHIN = 1.0
"""Seconds within which the log has to answer."""

_QUERY = "SELECT 1 FROM stored_events LIMIT 1"


class Probe:
    """Queries the log over a connection that `connect` makes and that is kept."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection[Any] | None = None
        self._checking: asyncio.Task[bool] | None = None
        self._answered = False
        self._fresh_until = float("-inf")

    async def answers(self) -> bool:
        """Return whether the log answers, or did so a moment ago."""
        if self._checking is None:
            if asyncio.get_running_loop().time() < self._fresh_until:
                return self._answered
            self._checking = asyncio.create_task(self._check())
        # A cancelled caller does not cancel the query of the others.
        return await asyncio.shield(self._checking)

    async def close(self) -> None:
        """Stop, and close the connection."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        self._cut()

    async def _check(self) -> bool:
        self._fresh_until = asyncio.get_running_loop().time() + FRESH
        try:
            async with asyncio.timeout(WITHIN):
                await self._query()
            self._answered = True
        except TROUBLE:
            self._cut()
            self._answered = False
        finally:
            self._checking = None
        return self._answered

    async def _query(self) -> None:
        """Query over the kept connection, and once more over a new one where that is broken."""
        if self._connection is not None:
            try:
                await self._connection.fetch(_QUERY)
            except TimeoutError:
                raise
            except TROUBLE:
                self._cut()
            else:
                return
        self._connection = await self._connect()
        await self._connection.fetch(_QUERY)

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
