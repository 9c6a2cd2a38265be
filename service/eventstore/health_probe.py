"""Tells whether the log answers now, over a connection of its own, to any number of callers.

Invariant: one question is under way at a time, and none begins within `FRESH` seconds of the one before. So however
often `/readyz` is asked, the database is asked twice a second at most, and a pool whose connections are all in use
makes no node unready. What an answer says was so at most `WITHIN` seconds before it is given.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    import asyncpg

FRESH = 0.5
"""Seconds from the beginning of a question for which its answer is given again."""

WITHIN = 1.0
"""Seconds within which the log has to answer."""

_QUESTION = "SELECT 1 FROM stored_events LIMIT 1"


class Probe:
    """Asks the log over a connection that `connect` makes, and that is kept from one question to the next."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection[Any] | None = None
        self._asking: asyncio.Task[bool] | None = None
        self._answered = False
        self._fresh_until = float("-inf")

    async def answers(self) -> bool:
        """Return whether the log answers, or did so a moment ago."""
        if self._asking is None:
            if asyncio.get_running_loop().time() < self._fresh_until:
                return self._answered
            self._asking = asyncio.create_task(self._ask())
        # A caller that goes away takes the answer from no other.
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        self._cut()

    async def _ask(self) -> bool:
        self._fresh_until = asyncio.get_running_loop().time() + FRESH
        try:
            async with asyncio.timeout(WITHIN):
                await self._question()
            self._answered = True
        except TROUBLE:
            self._cut()
            self._answered = False
        finally:
            self._asking = None
        return self._answered

    async def _question(self) -> None:
        """Ask over the connection that was kept, and once more over a new one where that has broken."""
        if self._connection is not None:
            try:
                await self._connection.fetch(_QUESTION)
            except TimeoutError:
                raise
            except TROUBLE:
                self._cut()
            else:
                return
        self._connection = await self._connect()
        await self._connection.fetch(_QUESTION)

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
