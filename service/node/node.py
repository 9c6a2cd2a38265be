"""A node: settings in, running services out. Everything a node needs is built here and passed in.

Nothing is created on import, and nothing outlives the `async with` that made it. Neither Postgres nor Redis has to be
there when a node begins: it listens, says that it is not ready, and is ready by itself later.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from service.audit import access_log
from service.audit.privacy.erasure import erase
from service.audit.privacy.leave_rooms import leave_rooms
from service.audit.privacy.retention import expire
from service.chat import AccountSuspensions, Chat, ReadMarkers
from service.cluster import leases
from service.cluster.bus import InProcessBus
from service.cluster.leases import Lease
from service.cluster.session_log import SessionLog
from service.cluster.session_reaper import Reaper
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore import notifications
from service.eventstore.appender import delete_old_refs
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.notifications import Waker
from service.eventstore.pool import CLOSE_WITHIN
from service.eventstore.reader import LogReader
from service.eventstore.readiness import Readiness
from service.eventstore.serializer import EventSerializer
from service.eventstore.server_clock import Clock
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.auth.jwks import PublishedKeys
from service.gateway.auth.oidc import Oidc
from service.gateway.auth.rate_limit import RateLimit, SharedRateLimit
from service.gateway.notices.accounts import AccountEffects
from service.gateway.notices.memberships import MembershipNotifier
from service.gateway.notices.remote import BusHandlers, ReceiptsResync
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.gateway.session.counters import Counters
from service.gateway.session.lifecycle import SessionLifecycle
from service.gateway.session.registry import SessionRegistry
from service.node import factories
from service.node.encoders import ENCODERS, JOINING
from service.node.metrics import NodeMetrics
from service.node.projection_lag import EVERY as LAG_EVERY
from service.node.projection_lag import Lag
from service.observability.exposition import Exposition
from service.observability.process import Pulse
from service.presence.presence import Presence
from service.presence.typing import Typing
from service.realtime.direct_sockets import DirectSockets
from service.realtime.hub import Hub
from service.realtime.log_tailer import LogTailer
from service.realtime.user_cache import UserCache
from service.runtime import supervise

if TYPE_CHECKING:
    from service.tracing import Traces

PURGE_EVERY = 3600.0
"""Seconds between two rounds of forgetting old refs."""


@asynccontextmanager
async def node(
    settings: Settings, bus: InProcessBus | None = None, traces: "Traces | None" = None
) -> AsyncIterator[Services]:
    """Run a node's services for as long as the block lasts. Nodes in one process may share a `bus` instead of Redis.

    `traces` is told what becomes of commands; the caller closes it.

    Raises:
        SchemaOutdated, UnsafeDurability: the database answers and is not fit to serve.
        asyncpg.PostgresError: it answers that this login may not, or that there is no such database.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(factories.pool(settings))
        reads = await stack.enter_async_context(factories.read_models(settings))
        readiness = Readiness(
            database, settings.database_timeout, allow_unsafe=settings.allow_unsafe_durability
        )
        await readiness.begin()
        keys = KeyRing(settings.key_encryption_key, settings.database_timeout)
        serializer = EventSerializer(keys)
        reader = LogReader(database, serializer, settings.database_timeout)
        people = UserCache(reader)
        clock = Clock(database, settings.database_timeout)
        hub = Hub(reader, people, ENCODERS, JOINING, DirectSockets(), clock.now)
        relay = await stack.enter_async_context(
            factories.relay(settings, bus or InProcessBus(), readiness, clock)
        )
        hub.on_follow, hub.on_unfollow = relay.follow, relay.unfollow
        sessions = SessionRegistry(settings.max_connections)
        telling = MembershipNotifier(sessions, hub)
        appender = factories.appender(settings, serializer, hub, relay, telling, traces)
        chat = Chat(
            hub, appender, reader, people, keys, database,
            now=clock.now, max_content=settings.max_content,
        )  # fmt: skip
        news = BusHandlers(hub, relay, serializer, people, sessions, telling, readiness, keys)
        if traces is not None:
            relay.on_events(traces.hearing(news.recorded_elsewhere))
        markers = ReadMarkers(hub, appender, reader, serializer, news.marker_moved, now=clock.now)
        standing = AccountEffects(people, hub, keys, serializer, sessions, database)
        tail = LogTailer(
            reader, hub, settings.catchup_interval,
            affected=telling.notify, persons=standing.changed, expired=standing.expired, renewed=news.renewed,
        )  # fmt: skip
        relay.on_missed(tail.wake)
        bell = Waker()
        lease = Lease(database, settings.node, deadline=settings.database_timeout)
        recording = (database, appender, serializer, keys, lease, settings.database_timeout)
        visits, reaper = SessionLog(*recording), Reaper(*recording)
        presence = Presence(relay, hub, people, settings.disconnect_grace)
        typing = Typing(relay, hub, str(uuid4()), asyncio.get_running_loop().time)
        verification_keys = factories.verification_keys(settings)
        tokens = factories.tokens(settings, verification_keys)
        rate = RateLimit(settings.rate_per_second, settings.rate_burst, asyncio.get_running_loop().time)
        attendance = SessionLifecycle(sessions, presence, typing, visits)
        tally, pulse, lag = Counters(), Pulse(settings.node), Lag(database, settings.database_timeout)
        stack.enter_context(pulse.watching_gc())
        numbers = NodeMetrics(
            readiness=readiness,
            sessions=sessions,
            tally=tally,
            appender=appender,
            pools={"log": database, "reads": reads._backend._pool},  # noqa: SLF001 - see `parts.read_models`
            lease=lease,
            visits=visits,
            hub=hub,
            relay=relay,
            lag=lag,
            damaged=serializer.damaged,
        )
        lease.fenced, lease.renewed = attendance.fenced, presence.trust
        stack.push_async_callback(hub.close)
        stack.push_async_callback(markers.close)
        stack.push_async_callback(telling.close)
        services = Services(
            settings=settings,
            readiness=readiness,
            probe=await stack.enter_async_context(factories.probe(settings)),
            relay=relay,
            chat=chat,
            markers=markers,
            hub=hub,
            people=people,
            serializer=serializer,
            log=reader,
            past=AsOfReader(database, serializer, settings.database_timeout),
            register=access_log.of_node(appender, serializer, keys),
            bell=bell,
            reads=reads,
            tokens=tokens,
            oidc=Oidc(settings, tokens) if settings.oidc_client_id else None,
            renewals=factories.renewals(settings),
            rate=rate,
            handshakes=HandshakeLimit(
                settings.handshake_rate, settings.handshake_burst, asyncio.get_running_loop().time
            ),
            sessions=sessions,
            presence=presence,
            typing=typing,
            attendance=attendance,
            judging=AccountSuspensions(people, appender, reader, serializer, database),
            erase=partial(erase, database, deadline=settings.database_timeout),
            leave_rooms=partial(leave_rooms, database, serializer, deadline=settings.database_timeout),
            tally=tally,
            traces=traces,
            exposition=Exposition(pulse.write, numbers.write, lag.write),
            now=clock.now,
        )
        receipts = ReceiptsResync(hub, Views(services).receipts)
        relay.on_resync(receipts.due)
        await stack.enter_async_context(
            supervise.background(
                append=appender.run,
                relay=relay.run,
                probe=relay.probe,
                ready=readiness.run,
                tail=lambda: readiness.then(tail.run),
                notify=lambda: notifications.listen(
                    factories.connecting(settings), [tail.wake, bell.wake], settings.database_timeout
                ),
                receipts=receipts.run,
                lease=lambda: readiness.then(lease.run),
                visits=lambda: readiness.then(visits.run),
                reap=lambda: readiness.then(reaper.run),
                presence=presence.run,
                notices=presence.tell,
                typing=typing.run,
                rate=SharedRateLimit(rate, relay).run,
                tokens=sessions.run,
                clock=lambda: readiness.then(clock.run),
                pulse=pulse.run,
                lag=lambda: readiness.then(lambda: supervise.every(LAG_EVERY, lag.look)),
                expire=lambda: readiness.then(
                    lambda: supervise.every(PURGE_EVERY, lambda: _expire(database, serializer, settings))
                ),
                purge=lambda: readiness.then(
                    lambda: supervise.every(PURGE_EVERY, lambda: _purge(database, settings.database_timeout))
                ),
            )
        )
        if isinstance(verification_keys, PublishedKeys):
            await stack.enter_async_context(supervise.background(keys=verification_keys.run))
        # After the drain, whose last fifth is left for what ends with it.
        stack.push_async_callback(
            _leave, presence, visits, lease, max(CLOSE_WITHIN, settings.drain_seconds / 5)
        )
        yield services


async def _leave(presence: Presence, visits: SessionLog, lease: Lease, seconds: float) -> None:
    """End in order, with everything still running: the connections are closed by now."""
    presence.goodbye()
    await visits.drain(seconds)
    await lease.end()


async def _expire(database: Any, serializer: EventSerializer, settings: Settings) -> None:
    await expire(database, serializer, by=f"node:{settings.node}", deadline=settings.database_timeout)


async def _purge(database: Any, deadline: float) -> None:
    await delete_old_refs(database, deadline)
    await leases.purge(database, deadline)
