"""Readiness: live at once, ready once the database is reachable and fit to serve.

A node listens whether Postgres answers or not. Until the database has answered, with the schema and the durability
that this version needs, `ready` is False and new clients are turned away. The migrations own every table, including
those of the `eventsourcing` library; they run as the owner (`ONRECORD_MIGRATE_DATABASE_URL`), and the login of
`ONRECORD_DATABASE_URL` has narrow roles only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from alembic.script import ScriptDirectory

from migrations.run import MIGRATIONS
from service.runtime.database_retry import TROUBLE, is_transient

FIRST_TRY = 2.0
"""Seconds that the start waits for the database, so that a misconfigured one is reported at once."""

PAUSE = 0.5
"""Seconds between two tries."""

log = logging.getLogger("onrecord.ready")


class UnsafeDurability(Exception):
    """The database acknowledges commits that a crash could lose."""


class SchemaOutdated(Exception):
    """The database's schema is not at the version that this code needs."""


async def check_database(connection: Any, *, allow_unsafe: bool) -> None:
    """Verify that the database is fit to serve.

    Raises:
        SchemaOutdated: the schema is not at the version of this code; run `onrecord migrate`.
        UnsafeDurability: `fsync` or `synchronous_commit` is off, and `allow_unsafe` does not accept that.
    """
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    try:
        current = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        current = None
    if current != head:
        message = (
            f"The database's schema is at {current or 'nothing'}, {head} is needed: run `onrecord migrate`."
        )
        raise SchemaOutdated(message)
    for setting in ("fsync", "synchronous_commit"):
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value == "off" and not allow_unsafe:
            message = (
                f"{setting} is off in the database: a crash would lose acknowledged messages. Switch it on, or say "
                f"that this is acceptable with ONRECORD_ALLOW_UNSAFE_DURABILITY=true."
            )
            raise UnsafeDurability(message)


class Readiness:
    """Whether the log can be served from, and its epoch from then on."""

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
            asyncpg.PostgresError: it rejects this login, or there is no such database.
        """
        try:
            await self._check(min(FIRST_TRY, self._deadline))
        except TROUBLE as error:
            if not is_transient(error):
                raise
            log.warning("not_ready", extra={"problem": error})

    async def run(self) -> None:
        """Try until it is ready, then wait to be cancelled."""
        logged = ""
        while not self._is_ready.is_set():
            await asyncio.sleep(PAUSE)
            try:
                await self._check(self._deadline)
                log.warning("ready")
            except (*TROUBLE, SchemaOutdated, UnsafeDurability) as error:
                if repr(error) != logged:
                    logged = repr(error)
                    log.warning("not_ready", extra={"problem": error})
        await asyncio.Event().wait()

    async def then(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` once the log is ready."""
        await self._is_ready.wait()
        await work()

    def renewed(self, epoch: str) -> None:
        """Set the log's new epoch."""
        self.epoch = epoch
        self._on_renewed()

    async def _check(self, seconds: float) -> None:
        async with asyncio.timeout(seconds), self._database.acquire() as connection:
            await check_database(connection, allow_unsafe=self._allow_unsafe)
            self.epoch = str(await connection.fetchval("SELECT epoch FROM log_epoch"))
        self._is_ready.set()
