"""Decides whether a node may serve: its database has to be reachable, and to have the right schema and durability.

A node listens before Postgres answers. Until the database has answered and passed `check_database`, `ready` is False
and new clients are turned away. A node that lacks a key encryption key in use ends, since it could not serve.

`Probe` reports whether the log answers now and is writable, to any number of callers. Invariant: one query is under way
at a time, and none starts within `FRESH` seconds of the one before. So `/readyz` queries the database at most twice a
second, at any rate of requests, and a reported state is at most `WITHIN` seconds old. The probe has a connection of its
own, so that an exhausted pool does not make a node unready.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from migrations import newest
from migrations.privileges import PrivilegesMissing, require_node
from service.encryption.keys_in_use import KeyEncryptionKeyMissing
from service.runtime.database_retry import TROUBLE, is_rejected, is_transient

FIRST_TRY = 2.0
"""Seconds for which the start waits for the database, so that a wrong configuration is reported at once."""

PAUSE = 0.5
"""Seconds between two tries."""

FRESH = 0.5
"""Seconds after the start of a query in which its result is reused."""

WITHIN = 1.0
"""Seconds within which the log has to answer."""

log = logging.getLogger("onrecord.ready")

_READ_ONLY = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
_QUERY = (
    f"{_READ_ONLY} AS read_only FROM (SELECT) AS once LEFT JOIN (SELECT FROM stored_events LIMIT 1) e ON true"
)


_NOT_WRITABLE = "The database is read-only: a standby, or default_transaction_read_only is on."


class UnsafeDurability(Exception):
    """The database acknowledges commits that a crash could lose."""


class SchemaOutdated(Exception):
    """The database's schema is not at the version that this code needs."""


async def check_schema(connection: Any) -> None:
    """Verify that the database's schema is the one that this code needs.

    Raises:
        SchemaOutdated: it is at another version, or there is none; run `onrecord migrate`.
    """
    head = newest()
    try:
        current = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        current = None
    if current != head:
        message = (
            f"The database's schema is at {current or 'nothing'}, {head} is needed: run `onrecord migrate`."
        )
        raise SchemaOutdated(message)


async def check_database(connection: Any, *, allow_unsafe: bool) -> None:
    """Verify that the database is fit to serve.

    Raises:
        SchemaOutdated: as in `check_schema`.
        UnsafeDurability: `fsync` or `synchronous_commit` is off, and `allow_unsafe` does not accept that.
    """
    await check_schema(connection)
    for setting in ("fsync", "synchronous_commit"):
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value == "off" and not allow_unsafe:
            message = (
                f"{setting} is off in the database: a crash would lose acknowledged messages. Switch it on, or accept "
                f"the loss with ONRECORD_ALLOW_UNSAFE_DURABILITY=true."
            )
            raise UnsafeDurability(message)


class Readiness:
    """Whether this node may serve the log, and the log's `epoch` (empty before). `stopping`: the node shuts down.

    `require_keys` checks that this node has the keys of the log. `wrong`: why the node has to end, if it started
    without the log.
    """

    def __init__(
        self,
        database: "asyncpg.Pool[Any]",
        deadline: float,
        *,
        allow_unsafe: bool,
        require_keys: Callable[[Any], Awaitable[None]],
        on_new_epoch: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._deadline = deadline
        self._allow_unsafe = allow_unsafe
        self._require_keys = require_keys
        self._is_ready = asyncio.Event()
        self.epoch = ""
        self._on_new_epoch = on_new_epoch
        self.stopping = False
        self.wrong: KeyEncryptionKeyMissing | PrivilegesMissing | None = None

    @property
    def ready(self) -> bool:
        """Whether the log was found fit to serve, and this node is not stopping."""
        return self._is_ready.is_set() and not self.stopping

    async def begin(self) -> None:
        """Check the database once, at the start.

        Raises:
            SchemaOutdated, UnsafeDurability: the database answers and is not fit to serve.
            KeyEncryptionKeyMissing, PrivilegesMissing: this node lacks a key of the log, or its login a privilege.
            asyncpg.PostgresError: it rejects this login, or there is no such database.
        """
        try:
            await self._check(min(FIRST_TRY, self._deadline))
        except TROUBLE as error:
            if not is_transient(error) or is_rejected(error):
                raise
            log.warning("not_ready", extra={"problem": error})

    async def run(self) -> None:
        """Check the database until it is ready or `wrong` is known, then wait to be cancelled."""
        logged = ""
        while not self._is_ready.is_set() and self.wrong is None:
            await asyncio.sleep(PAUSE)
            try:
                await self._check(self._deadline)
                log.warning("ready")
            except (KeyEncryptionKeyMissing, PrivilegesMissing) as error:
                self.wrong = error
            except (*TROUBLE, SchemaOutdated, UnsafeDurability) as error:
                if repr(error) != logged:
                    logged = repr(error)
                    log.warning("not_ready", extra={"problem": error})
        await asyncio.Event().wait()

    async def run_when_ready(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` once the log is ready."""
        await self._is_ready.wait()
        await work()

    def set_epoch(self, epoch: str) -> None:
        """Set the new epoch of a log that was restored."""
        self.epoch = epoch
        self._on_new_epoch()

    async def _check(self, seconds: float) -> None:
        async with asyncio.timeout(seconds), self._database.acquire() as connection:
            await check_database(connection, allow_unsafe=self._allow_unsafe)
            if await connection.fetchval(_READ_ONLY):
                raise asyncpg.ReadOnlySQLTransactionError(_NOT_WRITABLE)
            await require_node(connection)
            await self._require_keys(connection)
            self.epoch = str(await connection.fetchval("SELECT epoch FROM log_epoch"))
        self._is_ready.set()


class Probe:
    """Queries the log over a connection that `connect` opens and that is kept.

    `read_only`: the log answers, and nothing can be recorded.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection[Any] | None = None
        self._checking: asyncio.Task[bool] | None = None
        self._answered = False
        self.read_only = False
        self._fresh_until = float("-inf")

    async def answers(self) -> bool:
        """Return whether the log answers and is writable, or was so a moment ago."""
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
        self._drop_connection()

    async def _check(self) -> bool:
        self._fresh_until = asyncio.get_running_loop().time() + FRESH
        try:
            async with asyncio.timeout(WITHIN):
                rows = await self._query()
            self.read_only = rows[0]["read_only"]
            self._answered = not self.read_only
        except TROUBLE:
            self._drop_connection()
            self._answered = self.read_only = False
        finally:
            self._checking = None
        return self._answered

    async def _query(self) -> Any:
        """Query over the kept connection; if it is broken, query over a new one."""
        if self._connection is not None:
            try:
                return await self._connection.fetch(_QUERY)
            except TimeoutError:
                raise
            except TROUBLE:
                self._drop_connection()
        self._connection = await self._connect()
        return await self._connection.fetch(_QUERY)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
