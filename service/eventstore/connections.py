"""Opens connections to Postgres, directly or through a pooler such as PgBouncer.

A pooler in session mode gives each client a server process of its own, as a direct connection does. A pooler in
transaction mode gives a client a server process for each transaction, and that process has served other clients.

Invariant: through a pooler in transaction mode, nothing outlives its transaction: no named prepared statement, no
setting, no session lock and no `LISTEN`. What needs one of these connects with `Connector.session`.

`Pool` is asyncpg's pool without its wait for a server that does not answer. A call that reaches its deadline leaves its
connection in an unknown state; asyncpg makes the caller wait for the server before the connection is released, up to
the deadline again. `Pool` closes a connection that is not clean within `RETURN_WITHIN`, without an error to the caller.

Invariant: a borrower leaves no setting, lock or listener on a connection after its transaction.
"""

import asyncio
from contextlib import suppress
from enum import StrEnum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
from asyncpg.pool import Pool as AsyncpgPool

from service.config.environment import variable
from service.config.settings import Settings
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

ROUNDS = 5
"""How often two connections are compared before a pooler counts as one in session mode."""

_DATABASE_URL, _SESSION_URL = "ONRECORD_DATABASE_URL", "ONRECORD_DATABASE_SESSION_URL"
_PID = "SELECT pg_backend_pid()"
_PROCESS = uuid4().hex[:12]
_NUMBERS = count(1)


class NoSession(Exception):
    """A session of Postgres is needed, and the address leads to a pooler in transaction mode."""


class Pooling(StrEnum):
    """What is between this process and Postgres: no pooler, or one in session mode or in transaction mode."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


class Connection(asyncpg.Connection):
    """A connection without a reset query, which would double the round trips: borrowers leave no session state.

    A transaction that is left open is still rolled back. `shared`: its sessions are shared with other clients, by a
    pooler in transaction mode.
    """

    shared = False

    def get_reset_query(self) -> str:
        """Return no query."""
        return ""

    def _get_unique_id(self, prefix: str) -> str:
        # asyncpg numbers the statements of each process alike. If a pooler changes to transaction mode, two processes
        # would execute each other's statements; with these names the server reports an error.
        return f"__asyncpg_{prefix}_{_PROCESS}_{next(_NUMBERS):x}__"


class Connector:
    """Opens connections to the server at `url`, each within `deadline` seconds.

    `pooling` is what is between; None: it is detected when the first connection is opened, and then kept. `setting` is
    the variable that holds the address, for messages.
    """

    def __init__(
        self,
        url: str,
        deadline: float,
        pooling: Pooling | None = None,
        setting: str = _DATABASE_URL,
    ) -> None:
        self.url = url
        self._deadline = deadline
        self._pooling = pooling
        self._setting = setting
        self._detecting = asyncio.Lock()

    async def pooling(self) -> Pooling:
        """Return what is between; connect to detect it where it is not known yet."""
        if self._pooling is None:
            async with self._detecting:
                if self._pooling is None:
                    self._pooling = await detect(self.url, self._deadline)
        return self._pooling

    async def connect(self, settings: str = "", **options: Any) -> Any:
        """Open a connection; `settings` are SET statements, which a shared session does not get."""
        shared = await self.pooling() is Pooling.TRANSACTION
        options = {"connection_class": Connection, "timeout": self._deadline, **options}
        if shared:
            options["statement_cache_size"] = 0
        connection: Any = await asyncpg.connect(self.url, **options)
        connection.shared = shared
        if settings and not shared:
            try:
                await connection.execute(settings, timeout=self._deadline)
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def session(self, settings: str = "") -> Any:
        """Open a connection for what needs a session: `LISTEN`, session locks, `SET`.

        Raises:
            NoSession: a pooler in transaction mode is between.
        """
        await self.require_session()
        return await self.connect(settings)

    async def require_session(self) -> None:
        """Check that a connection is a session.

        Raises:
            NoSession: a pooler in transaction mode is between.
        """
        if await self.pooling() is Pooling.TRANSACTION:
            other = _SESSION_URL if self._setting == _DATABASE_URL else "it"
            raise NoSession(
                f"{self._setting} leads to a pooler in transaction mode, and a session of PostgreSQL is needed: "
                f"set {other} to the address of PostgreSQL itself, or of a pooler in session mode."
            )


def connector(settings: Settings, url: str = "") -> Connector:
    """Return the connector of one of the addresses in the settings; default: `database_url`."""
    url = url or settings.database_url
    if url == settings.database_url:
        declared = settings.database_pooling
        return Connector(url, settings.database_timeout, None if declared == "detect" else Pooling(declared))
    names = ("database_session_url", "projector_database_url", "migrate_database_url")
    name = next(name for name in names if getattr(settings, name) == url)
    return Connector(url, settings.database_timeout, setting=variable(name))


def is_shared(connection: object) -> bool:
    """Return whether a connection's session is shared with other clients, by a pooler in transaction mode."""
    return getattr(connection, "shared", False)


async def detect(url: str, deadline: float) -> Pooling:
    """Return what is between this process and the server at `url`.

    A pooler answers the start of a connection itself, so the process that it names is not the one that runs queries.
    Transaction mode shows when one connection is served by two processes, or one process serves two connections.
    """
    first = await _probe(url, deadline)
    try:
        if first.get_server_pid() == await first.fetchval(_PID):
            return Pooling.NONE
        second = await _probe(url, deadline)
        try:
            return await _compare(first, second)
        finally:
            second.terminate()
    finally:
        first.terminate()


async def _compare(first: Any, second: Any) -> Pooling:
    of_first, of_second = set(), set()
    for _ in range(ROUNDS):
        # Twice in a row: a pooler that takes turns between two processes would give each connection its own.
        of_first |= {await first.fetchval(_PID), await first.fetchval(_PID)}
        of_second.add(await second.fetchval(_PID))
        if len(of_first) > 1 or len(of_second) > 1 or of_first & of_second:
            return Pooling.TRANSACTION
    return Pooling.SESSION


async def _probe(url: str, deadline: float) -> Any:
    return await asyncpg.connect(
        url, timeout=deadline, command_timeout=deadline, statement_cache_size=0, connection_class=Connection
    )


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
