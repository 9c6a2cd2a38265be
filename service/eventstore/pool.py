"""Connections to Postgres that several share: asyncpg's pool, which does not wait for a server that does not answer.

A call that is given up at its deadline leaves a connection of which nobody knows what the server makes of it. asyncpg
waits for the server's word before it lends that connection again, as long as a statement may take, and whoever has
given up waits with it: twice the deadline in all. The rule: a connection that does not come back in order within
`RETURN_WITHIN` is cut, and that is nobody's trouble. Whoever borrows one sets nothing, locks nothing and listens to
nothing beyond their transaction.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.pool import Pool as AsyncpgPool

from service.observability.histogram import Histogram
from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

RETURN_WITHIN = 0.5
"""Seconds that a connection has to be clean again after its use."""

IDLE = 300.0
"""Seconds after which a connection that nobody used is closed."""

CLOSE_WITHIN = 3.0
"""Seconds that a pool has to give its connections back when it is closed."""


PLANS = {"enable_seqscan": "off", "jit": "off"}
"""What a plan that was made on small tables has to be, as it is kept while they grow: by index, and not compiled."""


class Connection(asyncpg.Connection):
    """One that is not told to forget its session when it comes back: nobody here leaves anything in it.

    A transaction that was left open is still rolled back. That query would double the round trips of every read.
    """

    def get_reset_query(self) -> str:
        """Return what a connection is sent when it comes back: nothing."""
        return ""


class Pool(AsyncpgPool):
    """A pool of at most `size` connections; `deadline` is in seconds and bounds a connect and a statement.

    For metrics: `waits`, the seconds until each use had its connection, and `waiting`, how many wait now.
    """

    def __init__(self, url: str, size: int, deadline: float) -> None:
        super().__init__(
            url,
            connection_class=Connection,
            record_class=asyncpg.Record,
            min_size=0,
            max_size=size,
            max_queries=50_000,  # asyncpg's own default, as there is none in its class
            max_inactive_connection_lifetime=IDLE,
            loop=asyncio.get_running_loop(),
            server_settings=PLANS,
            timeout=deadline,
            command_timeout=deadline,
        )
        self.waits = Histogram()
        self.waiting = 0

    async def release(
        self,
        connection: "PoolConnectionProxy[Any]",
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's
    ) -> None:
        """Take a connection back, or cut it: whoever used it has their answer."""
        with suppress(*TROUBLE):
            await super().release(connection, timeout=timeout or RETURN_WITHIN)

    async def leave(self) -> None:
        """Close in order, or at once where a connection does not come back."""
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self.close()
        except TimeoutError:
            self.terminate()

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - the library's
        clock = asyncio.get_running_loop().time
        began = clock()
        self.waiting += 1
        try:
            return await super()._acquire(timeout)  # type: ignore[misc] # the stubs leave it out
        finally:
            self.waiting -= 1
            self.waits.observe(clock() - began)
