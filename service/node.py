"""A node: settings in, running services out. Everything a node needs is built here and passed in.

Nothing is created on import, and nothing outlives the `async with` that made it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from broadcaster import Broadcast
from databases import Database

from service import supervise
from service.chat import Chat, Markers
from service.domain.events import Recorded
from service.live.hub import Hub
from service.live.people import People
from service.live.relay import InProcessBackend, InProcessBus, Relay
from service.live.tail import Tail
from service.log import refs, schema
from service.log.append import Appender
from service.log.clock import Clock
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.log.read import LogReader
from service.protocol.events import MessageReadBy, timestamp
from service.settings import Settings
from service.wire.auth import Tokens
from service.wire.limits import Rate
from service.wire.services import Services
from service.wire.session import NATIVE, native_frame
from service.wire.sessions import Sessions
from service.wire.telling import Telling

PURGE_EVERY = 3600.0
"""Seconds between two rounds of forgetting old refs."""

CLOCK_EVERY = 60.0
"""Seconds between two questions for the database's time."""

CLOSE_WITHIN = 3.0
"""Seconds that a pool has to give its connections back when the node stops."""


@asynccontextmanager
async def node(settings: Settings, bus: InProcessBus | None = None) -> AsyncIterator[Services]:
    """Run a node's services for as long as the block lasts. Nodes in one process may share a `bus`.

    Raises:
        SchemaOutdated, UnsafeDurability: the database is not fit to serve.
        asyncpg.PostgresError, OSError: it cannot be reached.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_log_database(settings))
        reads = await stack.enter_async_context(_read_models(settings))
        keys = KeyRing(settings.key_encryption_key, settings.database_timeout)
        mapper = Mapper(keys)
        reader = LogReader(database, mapper, settings.database_timeout)
        people = People(reader)
        clock = Clock(database, settings.database_timeout)
        await clock.ask()
        hub = Hub(reader, people, {NATIVE: native_frame}, clock.now)
        sessions = Sessions(settings.max_connections)
        telling = Telling(sessions, hub)
        relay = await stack.enter_async_context(_relay(hub, bus or InProcessBus()))
        appender = _appender(settings, mapper, hub, relay, telling)
        chat = Chat(
            hub, appender, reader, people, keys, database,
            now=clock.now, max_content=settings.max_content,
        )  # fmt: skip
        markers = Markers(chat, hub, appender, reader, keys, _teller(hub), now=clock.now)
        stack.push_async_callback(hub.close)
        stack.push_async_callback(markers.close)
        stack.push_async_callback(telling.close)
        await stack.enter_async_context(
            supervise.background(
                append=appender.run,
                relay=relay.run,
                tail=Tail(reader, hub, settings.catchup_interval).run,
                clock=lambda: supervise.every(CLOCK_EVERY, clock.ask),
                purge=lambda: supervise.every(PURGE_EVERY, lambda: refs.purge(database)),
            )
        )
        yield Services(
            settings=settings,
            epoch=await reader.epoch(),
            chat=chat,
            markers=markers,
            hub=hub,
            people=people,
            mapper=mapper,
            log=reader,
            reads=reads,
            tokens=_tokens(settings),
            rate=Rate(settings.rate_per_second, settings.rate_burst, asyncio.get_running_loop().time),
            sessions=sessions,
            now=clock.now,
        )


def pool(settings: Settings) -> Any:
    """Return a pool of connections to the log, to be entered."""
    return asyncpg.create_pool(
        settings.database_url,
        min_size=1,
        max_size=settings.pool_size,
        timeout=settings.database_timeout,
        command_timeout=settings.database_timeout,
    )


@asynccontextmanager
async def _log_database(settings: Settings) -> AsyncIterator[Any]:
    database = await pool(settings)
    try:
        async with database.acquire() as connection:
            await schema.check(connection, allow_unsafe=settings.allow_unsafe_durability)
        yield database
    finally:
        await _close(database)


@asynccontextmanager
async def _read_models(settings: Settings) -> AsyncIterator[Database]:
    reads = Database(
        settings.database_url,
        min_size=1,
        max_size=settings.pool_size,
        timeout=settings.database_timeout,
        command_timeout=settings.database_timeout,
    )
    await reads.connect()
    try:
        yield reads
    finally:
        await _close(reads._backend._pool)  # noqa: SLF001 - disconnect() waits for ever for a connection that broke


async def _close(database: Any) -> None:
    """Close a pool in order, or at once where a connection does not come back."""
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await database.close()
    except TimeoutError:
        database.terminate()


@asynccontextmanager
async def _relay(hub: Hub, bus: InProcessBus) -> AsyncIterator[Relay]:
    async with Broadcast(backend=InProcessBackend(bus)) as broadcast:
        relay = Relay(broadcast, hub.deliver)
        hub.on_follow, hub.on_unfollow = relay.follow, relay.unfollow
        try:
            yield relay
        finally:
            await relay.close()


def _appender(settings: Settings, mapper: Mapper, hub: Hub, relay: Relay, telling: Telling) -> Appender:
    def placed(news: dict[str, list[Recorded]]) -> None:
        hub.deliver(news)
        relay.announce(news)
        telling.tell(news)

    return Appender(
        lambda: asyncpg.connect(
            settings.database_url,
            timeout=settings.database_timeout,
            # `chat_append` takes its lock first and looks afterwards: each look has to see what was committed by then.
            server_settings={"default_transaction_isolation": "read committed"},
        ),
        mapper,
        known_head=hub.known_head,
        placed=placed,
        deadline=settings.database_timeout,
    )


def _teller(hub: Hub) -> Any:
    def moved(room: str, user: str, message: int, at: datetime) -> None:
        hub.broadcast(room, MessageReadBy(room_id=room, user_id=user, message_id=message, at=timestamp(at)))

    return moved


def _tokens(settings: Settings) -> Tokens:
    return Tokens(
        settings.jwt_secret,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
    )
