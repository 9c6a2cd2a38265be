"""asyncpg's connection pool, without its wait for a server that does not answer.

A call that reaches its deadline leaves its connection in an unknown state. asyncpg makes the caller wait for the server
before the connection is released, up to the deadline again. This pool closes a connection that is not clean within
`RETURN_WITHIN`, without an error to the caller.

Invariant: a borrower leaves no setting, lock or listener on a connection after its transaction.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.pool import Pool as AsyncpgPool

from service.eventstore.connections import Connection, Connector
from service.observability.histogram import Histogram
from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

RETURN_WITHIN = 0.5
"""Seconds within which a released connection has to be clean."""

IDLE = 300.0
"""Seconds after which an unused connection is closed."""

CLOSE_WITHIN = 3.0
"""Seconds within which all connections have to be released when a pool is closed."""

PLANS = "SET enable_seqscan = off; SET jit = off"
"""Plans that are made on small tables and kept while these grow must use indexes. A pooler in transaction mode keeps no
plan: there each statement is planned when it runs, by the size that the tables have then."""


class Pool(AsyncpgPool):
    """A pool of at most `size` connections; `deadline` is in seconds and bounds a connect and a statement.

    `connector` opens them; it may be shared by several pools.

    For metrics: `waits`, the seconds until each borrower had a connection, and `waiting`, those that wait now.
    """

    def __init__(self, connector: Connector, size: int, deadline: float) -> None:
        super().__init__(
            connector.url,
            connect=partial(_connect, connector),
            connection_class=Connection,
            record_class=asyncpg.Record,
            min_size=0,
            max_size=size,
            max_queries=50_000,  # asyncpg's own default, as there is none in its class
            max_inactive_connection_lifetime=IDLE,
            loop=asyncio.get_running_loop(),
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
        """Take a connection back, or close it; the borrower has its result."""
        with suppress(*TROUBLE):
            await super().release(connection, timeout=timeout or RETURN_WITHIN)

    async def shut_down(self) -> None:
        """Close the pool; terminate it if a connection is not released in time."""
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


async def _connect(connector: Connector, _url: str, **options: Any) -> Any:
    return await connector.connect(PLANS, **options)
