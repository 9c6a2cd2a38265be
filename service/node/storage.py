"""Builds the storage layer of a node: connections to Postgres, readers of the log, and the keys of its events.

Postgres does not have to be reachable when a node starts: it listens, reports that it is not ready, and becomes ready
later by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.connections import Connector, Pool, connector
from service.eventstore.read_database import ReadModels, open_read_database
from service.eventstore.reader import LogReader
from service.eventstore.readiness import FIRST_TRY, Probe, Readiness
from service.eventstore.report_reader import ReportReader
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import TROUBLE
from service.runtime.server_clock import ServerClock


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The storage layer. The pools are `Any`, since asyncpg has a separate type for the connections of a pool.

    `connector` opens connections to the log, `sessions` those that are a session of Postgres.
    """

    connector: Connector
    sessions: Connector
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
        KeyEncryptionKeyMissing, PrivilegesMissing: this node lacks a key of the log, or its login a privilege.
        asyncpg.PostgresError: the database refuses the login, or does not exist.
        NoSession: the address that is set for sessions leads to a pooler in transaction mode.
    """
    deadline = settings.database_timeout
    log = connector(settings)
    sessions = await _sessions(settings, log)
    pool = await stack.enter_async_context(open_pool(settings, log))
    read_pool = await stack.enter_async_context(open_pool(settings, log))
    reads = await stack.enter_async_context(open_read_database(settings.database_url, read_pool))
    probe = Probe(log.connect)
    stack.push_async_callback(probe.close)
    clock = ServerClock(pool, deadline)
    keys = KeyRing(settings.key_encryption_key, deadline)
    readiness = Readiness(
        pool,
        deadline,
        allow_unsafe=settings.allow_unsafe_durability,
        require_keys=keys.require_all,
        on_new_epoch=clock.invalidate,
    )
    await readiness.begin()
    serializer = EventSerializer(keys)
    return Storage(
        connector=log,
        sessions=sessions,
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
async def open_pool(settings: Settings, log: Connector) -> AsyncIterator[Any]:
    """Yield a pool of connections to the database, a `Pool`."""
    pool = Pool(log, settings.pool_size, settings.database_timeout)
    await pool
    try:
        yield pool
    finally:
        await pool.shut_down()


async def _sessions(settings: Settings, log: Connector) -> Connector:
    """Return the connector for sessions; check its address now if its server answers."""
    if not settings.database_session_url:
        return log
    sessions = connector(settings, settings.session_url)
    with suppress(*TROUBLE):
        async with asyncio.timeout(min(FIRST_TRY, settings.database_timeout)):
            await sessions.require_session()
    return sessions
