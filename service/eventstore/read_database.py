"""Adapter for `databases`, the library that runs the queries of the read models.

This is the only module that uses private parts of the library, or works around its behaviour:

- `_backend._pool`: the library creates a pool of asyncpg's own class, which waits without a deadline for a connection
  that broke. `open_read_database` replaces it by a `service.eventstore.connections.Pool`.
- `raw_connection`: a transaction of `databases` that breaks never returns its connection to the pool, so
  `read_snapshot` begins a transaction of asyncpg.
- `raw_connection.fetch`: the library compiles the text of a query with SQLAlchemy each time it runs, which costs more
  than many of the queries, and leaves cyclic garbage. `read_snapshot` keeps what was compiled. It returns the driver's
  own rows; the wrapper around them makes each access several times slower.
- One task per query: the library ties a connection to the current task, and a connection that breaks inside a
  transaction stays broken for as long as that task runs (decision 0002).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, TypeVar

from databases import Database
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.base import PGDialect

from service.eventstore.connections import Pool
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import retry_read

T = TypeVar("T")
Fetch = Callable[..., Awaitable[list[Mapping[str, Any]]]]

_DIALECT = PGDialect(paramstyle="pyformat")  # type: ignore[no-untyped-call] # SQLAlchemy's


@asynccontextmanager
async def open_read_database(url: str, pool: Pool) -> AsyncIterator[Database]:
    """Yield the read models' database over `pool`, which the caller closes after it."""
    database = Database(url, min_size=0, max_size=1)
    await database.connect()
    await database._backend._pool.close()  # noqa: SLF001 - it has no connection yet
    database._backend._pool = pool  # noqa: SLF001 - see the module
    yield database


@asynccontextmanager
async def read_snapshot(database: Database) -> AsyncIterator[Fetch]:
    """Yield a function that returns the rows of queries, all in one read-only snapshot."""
    async with (
        database.connection() as connection,
        connection.raw_connection.transaction(isolation="repeatable_read", readonly=True),
    ):

        async def fetch(query: str, **values: object) -> list[Mapping[str, Any]]:
            compiled, names = _compiled(query)
            arguments = (values[name] for name in names)
            rows: list[Mapping[str, Any]] = await connection.raw_connection.fetch(compiled, *arguments)
            return rows

        yield fetch


@lru_cache(maxsize=256)
def _compiled(query: str) -> tuple[str, tuple[str, ...]]:
    """Return a query with `$1`, `$2`, ... in place of its `:names`, and the names in that order."""
    compiled = text(query).compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    names = tuple(sorted(compiled.params))
    return compiled.string % {name: f"${number}" for number, name in enumerate(names, 1)}, names


class ReadModels:
    """Runs the queries of `projections`; a query may take `deadline` seconds."""

    def __init__(self, database: Database, serializer: EventSerializer, deadline: float) -> None:
        self._database = database
        self._serializer = serializer
        self._deadline = deadline

    async def read(self, query: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
        """Return the result of a query function, retried after a restart of the database.

        Raises:
            ProjectionBehind: the read model is too far behind the log.
            Unavailable: the database cannot be reached.
        """
        return await retry_read(
            lambda: asyncio.create_task(query(self._database, self._serializer, *arguments, **options)),
            self._deadline,
        )
