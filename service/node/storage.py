"""Builds the storage layer of a node: connections to Postgres, readers of the log, and the keys of its events.

Postgres does not have to be reachable when a node starts: it listens, reports that it is not ready, and becomes ready
later by itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.pool import Pool
from service.eventstore.read_database import ReadModels, open_read_database
from service.eventstore.reader import LogReader
from service.eventstore.readiness import Probe, Readiness
from service.eventstore.report_reader import ReportReader
from service.eventstore.serializer import EventSerializer
from service.runtime.server_clock import ServerClock


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The storage layer. The pools are `Any`, since asyncpg has a separate type for the connections of a pool."""

    pool: Any
    read_pool: Any
    read_models: ReadModels
    probe: Probe
    clock: ServerClock
    readiness: Readiness
    keys: KeyRing
    serializer: EventSerializer
    reader: LogReader
    as_of_reader: AsOfReader
    report_reader: ReportReader


async def build_storage(settings: Settings, stack: AsyncExitStack) -> Storage:
    """Return the storage layer, closed with `stack`.

    Raises:
        SchemaOutdated, UnsafeDurability: the database answers and is not fit to serve.
        asyncpg.PostgresError: the database refuses the login, or does not exist.
    """
    deadline = settings.database_timeout
    pool = await stack.enter_async_context(open_pool(settings))
    read_pool = await stack.enter_async_context(open_pool(settings))
    reads = await stack.enter_async_context(open_read_database(settings.database_url, read_pool))
    probe = Probe(connector(settings))
    stack.push_async_callback(probe.close)
    clock = ServerClock(pool, deadline)
    readiness = Readiness(
        pool, deadline, allow_unsafe=settings.allow_unsafe_durability, on_new_epoch=clock.invalidate
    )
    await readiness.begin()
    keys = KeyRing(settings.key_encryption_key, deadline)
    serializer = EventSerializer(keys)
    return Storage(
        pool=pool,
        read_pool=read_pool,
        read_models=ReadModels(reads, serializer, deadline),
        probe=probe,
        clock=clock,
        readiness=readiness,
        keys=keys,
        serializer=serializer,
        reader=LogReader(pool, serializer, deadline),
        as_of_reader=AsOfReader(pool, serializer, deadline),
        report_reader=ReportReader(pool, serializer, deadline),
    )


@asynccontextmanager
async def open_pool(settings: Settings) -> AsyncIterator[Any]:
    """Yield a pool of connections to the database, a `Pool`."""
    pool = Pool(settings.database_url, settings.pool_size, settings.database_timeout)
    await pool
    try:
        yield pool
    finally:
        await pool.shut_down()


def connector(settings: Settings, **options: Any) -> Callable[[], Any]:
    """Return a function that opens a connection to the log outside the pools."""
    return lambda: asyncpg.connect(settings.database_url, timeout=settings.database_timeout, **options)
