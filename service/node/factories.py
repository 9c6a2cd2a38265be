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

from service.cluster.bus import InProcessBackend, InProcessBus, Missed
from service.cluster.envelope import Envelope, channel_prefix
from service.cluster.redis_bus import RedisBus
from service.cluster.relay import Relay
from service.config.settings import PUBLISHED, SHARED, Settings
from service.errors import Unavailable
from service.eventstore.appender import Appender
from service.eventstore.entries import CommitResult
from service.eventstore.health_probe import Probe
from service.eventstore.pool import Pool
from service.eventstore.readiness import Readiness
from service.eventstore.serializer import EventSerializer
from service.eventstore.server_clock import Clock
from service.gateway.auth.jwks import PublishedKeys, SharedSecret
from service.gateway.auth.refresh_cookie import RefreshCookies
from service.gateway.auth.tokens import TokenVerifier
from service.gateway.notices.memberships import MembershipNotifier
from service.realtime.hub import Hub

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

    def backend(missed: Missed) -> InProcessBackend | RedisBus:
        if not settings.redis_url:
            return InProcessBackend(bus, missed)
        prefix = channel_prefix(settings.bus_key)
        return RedisBus(settings.redis_url, settings.redis_timeout, prefix, missed)

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
    settings: Settings,
    serializer: EventSerializer,
    hub: Hub,
    relay: Relay,
    telling: MembershipNotifier,
    traces: "Traces | None",
) -> Appender:
    """Return what appends, and has all that follows a commit done: delivered here, announced, and told to people."""

    def placed(batch: CommitResult) -> None:
        hub.deliver(batch.news)
        relay.announce(batch.written)
        telling.after_commit(batch.news)

    # `chat_append` takes its lock first and looks afterwards: each look has to see what was committed by then.
    isolation = {"default_transaction_isolation": "read committed"}
    return Appender(
        connecting(settings, server_settings=isolation),
        serializer,
        known_head=hub.known_head,
        placed=traces.placing(placed) if traces is not None else placed,
        deadline=settings.database_timeout,
    )


def verification_keys(settings: Settings) -> SharedSecret | PublishedKeys:
    """Return what signatures are checked with."""
    if settings.jwt_jwks:
        return PublishedKeys(settings.jwt_jwks, asyncio.get_running_loop().time)
    return SharedSecret(settings.jwt_secret)


def renewals(settings: Settings) -> RefreshCookies | None:
    """Return what seals the cookies that a sign-in is renewed by; None where nobody signs in on the page."""
    if not settings.oidc_client_id:
        return None
    return RefreshCookies(settings.key_encryption_key, settings.jwt_issuer or "", settings.oidc_client_id)


def tokens(settings: Settings, keys: SharedSecret | PublishedKeys) -> TokenVerifier:
    """Return what checks tokens, as the settings have it."""
    return TokenVerifier(
        keys,
        settings.jwt_algorithms or (PUBLISHED if settings.jwt_jwks else SHARED),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
    )
