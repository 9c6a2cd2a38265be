"""Whether the log can be served from: live at once, ready by itself later.

A node begins to listen whether Postgres answers or not. Until the database has answered and its schema and durability
are what this version needs, `ready` is False and the doors turn clients away.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from service.eventstore import schema
from service.runtime.database_retry import TROUBLE, is_transient

if TYPE_CHECKING:
    import asyncpg

FIRST_TRY = 2.0
"""Seconds that the start waits for the database, so that what is wrong with it is said at once."""

PAUSE = 0.5
"""Seconds between two tries."""

log = logging.getLogger("onrecord.ready")


class Readiness:
    """The log's epoch, known from the moment at which the log can be served from."""

    def __init__(
        self,
        database: "asyncpg.Pool[Any]",
        deadline: float,
        *,
        allow_unsafe: bool,
        on_renewed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._deadline = deadline
        self._allow_unsafe = allow_unsafe
        self._is_ready = asyncio.Event()
        self.epoch = ""
        self._on_renewed = on_renewed
        self.stopping = False

    @property
    def ready(self) -> bool:
        """Whether the log was found fit to serve, and this node is not stopping."""
        return self._is_ready.is_set() and not self.stopping

    async def begin(self) -> None:
        """Try once, soon after the start.

        Raises:
            SchemaOutdated, UnsafeDurability: the database answers and is not fit to serve.
            asyncpg.PostgresError: it answers that this login may not, or that there is no such database.
        """
        try:
            await self._check(min(FIRST_TRY, self._deadline))
        except TROUBLE as error:
            if not is_transient(error):
                raise
            log.warning("not_ready", extra={"problem": error})

    async def run(self) -> None:
        """Try until it is ready, then wait to be cancelled."""
        said = ""
        while not self._is_ready.is_set():
            await asyncio.sleep(PAUSE)
            try:
                await self._check(self._deadline)
                log.warning("ready")
            except (*TROUBLE, schema.SchemaOutdated, schema.UnsafeDurability) as error:
                if repr(error) != said:
                    said = repr(error)
                    log.warning("not_ready", extra={"problem": error})
        await asyncio.Event().wait()

    async def then(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do work once it is ready."""
        await self._is_ready.wait()
        await work()

    def renewed(self, epoch: str) -> None:
        """Take note of the log's new epoch."""
        self.epoch = epoch
        self._on_renewed()

    async def _check(self, seconds: float) -> None:
        async with asyncio.timeout(seconds), self._database.acquire() as connection:
            await schema.check(connection, allow_unsafe=self._allow_unsafe)
            self.epoch = str(await connection.fetchval("SELECT epoch FROM log_epoch"))
        self._is_ready.set()
