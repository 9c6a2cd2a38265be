"""What a node and the commands are built from, where that takes more than a constructor's call.

The rule: each is made from the settings alone or from what it is given, and whoever enters it lets go of it again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
from databases import Database

from service.errors import Unavailable
from service.live.bus import InProcessBackend, InProcessBus, Missed
from service.live.envelope import Envelope, channel_prefix
from service.live.hub import Hub
from service.live.relay import Relay
from service.live.relay_backend import RelayBackend
from service.log.append import Appender
from service.log.batch import Batch
from service.log.clock import Clock
from service.log.mapper import Mapper
from service.log.pool import Pool
from service.log.probe import Probe
from service.log.readiness import Readiness
from service.settings import PUBLISHED, SHARED, Settings
from service.wire.auth import Tokens
from service.wire.keys import PublishedKeys, SharedSecret
from service.wire.renewals import Renewals
from service.wire.telling import Telling

if TYPE_CHECKING:
    from service.tracing import Traces


@asynccontextmanager
async def pool(settings: Settings) -> AsyncIterator[Any]:
    """Give a pool of connections to the database, a `Pool`; the library's types part lent connections from others."""
    made = Pool(settings.database_url, settings.pool_size, settings.database_timeout)
    await made
    try:
        yield made
    finally:
        await made.leave()


@asynccontextmanager
async def read_models(settings: Settings) -> AsyncIterator[Database]:
    """Give the read models' database, over a pool of ours: the library's own waits for ever for what broke."""
    reads = Database(settings.database_url, min_size=0, max_size=1)
    await reads.connect()
    async with pool(settings) as ours:
        await reads._backend._pool.close()  # noqa: SLF001 - it has no connection yet
        reads._backend._pool = ours  # noqa: SLF001 - the library makes pools of asyncpg's class only
        yield reads


@asynccontextmanager
async def relay(
    settings: Settings, bus: InProcessBus, readiness: Readiness, clock: Clock
) -> AsyncIterator[Relay]:
    """Give the bus to the other nodes: Redis where it is set, else what the nodes of this process share."""

    def backend(missed: Missed) -> InProcessBackend | RelayBackend:
        if not settings.redis_url:
            return InProcessBackend(bus, missed)
        prefix = channel_prefix(settings.bus_key)
        return RelayBackend(settings.redis_url, settings.redis_timeout, prefix, missed)

    if readiness.ready:
        with suppress(Unavailable):  # `clock.run` asks again
            await clock.ask()
    readiness.on_renewed = clock.forget
    envelope = Envelope(
        settings.bus_key,
        uuid4(),
        epoch=lambda: readiness.epoch if clock.asked else "",
        now=clock.microseconds,
    )
    async with Relay(backend, envelope, doubt_clock=clock.doubt) as relay:
        yield relay


@asynccontextmanager
async def traced(settings: Settings) -> AsyncIterator["Traces | None"]:
    """Give the traces of a process, None where nothing is traced; see `service.cli` for where the extra is missing."""
    if not settings.traces_url:
        yield None
        return
    from service.tracing import traces_to  # noqa: PLC0415 - an extra, which is not there for everybody

    traces = traces_to(settings.traces_url, settings.node, settings.traces_ratio)
    try:
        yield traces
    finally:
        await traces.close()


@asynccontextmanager
async def probe(settings: Settings) -> AsyncIterator[Probe]:
    """Give what asks the log whether it answers, over a connection of its own."""
    made = Probe(connecting(settings))
    try:
        yield made
    finally:
        await made.close()


def connecting(settings: Settings, **options: Any) -> Callable[[], Any]:
    """Return what makes a connection to the log of its own, outside the pools."""
    return lambda: asyncpg.connect(settings.database_url, timeout=settings.database_timeout, **options)


def appender(
    settings: Settings, mapper: Mapper, hub: Hub, relay: Relay, telling: Telling, traces: "Traces | None"
) -> Appender:
    """Return what appends, and has all that follows a commit done: delivered here, announced, and told to people."""

    def placed(batch: Batch) -> None:
        hub.deliver(batch.news)
        relay.announce(batch.written)
        telling.tell(batch.news)

    # `chat_append` takes its lock first and looks afterwards: each look has to see what was committed by then.
    isolation = {"default_transaction_isolation": "read committed"}
    return Appender(
        connecting(settings, server_settings=isolation),
        mapper,
        known_head=hub.known_head,
        placed=traces.placing(placed) if traces is not None else placed,
        deadline=settings.database_timeout,
    )


def verification_keys(settings: Settings) -> SharedSecret | PublishedKeys:
    """Return what signatures are checked with."""
    if settings.jwt_jwks:
        return PublishedKeys(settings.jwt_jwks, asyncio.get_running_loop().time)
    return SharedSecret(settings.jwt_secret)


def renewals(settings: Settings) -> Renewals | None:
    """Return what seals the cookies that a sign-in is renewed by; None where nobody signs in on the page."""
    if not settings.oidc_client_id:
        return None
    return Renewals(settings.key_encryption_key, settings.jwt_issuer or "", settings.oidc_client_id)


def tokens(settings: Settings, keys: SharedSecret | PublishedKeys) -> Tokens:
    """Return what checks tokens, as the settings have it."""
    return Tokens(
        keys,
        settings.jwt_algorithms or (PUBLISHED if settings.jwt_jwks else SHARED),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
    )
