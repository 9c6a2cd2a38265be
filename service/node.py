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

from service import parts, supervise
from service.audit import register
from service.audit.erase import erase
from service.audit.leaving import leave_rooms
from service.audit.retention import expire
from service.chat import Chat, Judging, Markers
from service.live.bus import InProcessBus
from service.live.hub import Hub
from service.live.people import People
from service.live.presence import Presence
from service.live.straight import Straight
from service.live.tail import Tail
from service.live.typing import Typing
from service.log import leases, notify, refs
from service.log.clock import Clock
from service.log.keys import KeyRing
from service.log.leases import Lease
from service.log.mapper import Mapper
from service.log.notify import Bell
from service.log.past import PastReader
from service.log.pool import CLOSE_WITHIN
from service.log.read import LogReader
from service.log.readiness import Readiness
from service.log.reaper import Reaper
from service.log.visits import Visits
from service.metrics.exposition import Exposition
from service.metrics.process import Pulse
from service.scrape.lag import EVERY as LAG_EVERY
from service.scrape.lag import Lag
from service.scrape.node import NodeMetrics
from service.settings import Settings
from service.wire.attendance import Attendance
from service.wire.encoders import ENCODERS, JOINING
from service.wire.handshakes import Handshakes
from service.wire.keys import PublishedKeys
from service.wire.limits import Rate, SharedRate
from service.wire.news import News, ReceiptsAgain
from service.wire.oidc import Oidc
from service.wire.services import Services
from service.wire.sessions import Sessions
from service.wire.standing import Standing
from service.wire.tally import Tally
from service.wire.telling import Telling
from service.wire.views import Views

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
        database = await stack.enter_async_context(parts.pool(settings))
        reads = await stack.enter_async_context(parts.read_models(settings))
        readiness = Readiness(
            database, settings.database_timeout, allow_unsafe=settings.allow_unsafe_durability
        )
        await readiness.begin()
        keys = KeyRing(settings.key_encryption_key, settings.database_timeout)
        mapper = Mapper(keys)
        reader = LogReader(database, mapper, settings.database_timeout)
        people = People(reader)
        clock = Clock(database, settings.database_timeout)
        hub = Hub(reader, people, ENCODERS, JOINING, Straight(), clock.now)
        relay = await stack.enter_async_context(
            parts.relay(settings, bus or InProcessBus(), readiness, clock)
        )
        hub.on_follow, hub.on_unfollow = relay.follow, relay.unfollow
        sessions = Sessions(settings.max_connections)
        telling = Telling(sessions, hub)
        appender = parts.appender(settings, mapper, hub, relay, telling, traces)
        chat = Chat(
            hub, appender, reader, people, keys, database,
            now=clock.now, max_content=settings.max_content,
        )  # fmt: skip
        news = News(hub, relay, mapper, people, sessions, telling, readiness, keys)
        if traces is not None:
            relay.on_events(traces.hearing(news.recorded_elsewhere))
        markers = Markers(chat, hub, appender, reader, keys, news.marker_moved, now=clock.now)
        standing = Standing(people, hub, keys, mapper, sessions, database)
        tail = Tail(
            reader, hub, settings.catchup_interval,
            affected=telling.told, persons=standing.changed, expired=standing.expired, renewed=news.renewed,
        )  # fmt: skip
        relay.on_missed(tail.wake)
        bell = Bell()
        lease = Lease(database, settings.node, deadline=settings.database_timeout)
        recording = (database, appender, mapper, keys, lease, settings.database_timeout)
        visits, reaper = Visits(*recording), Reaper(*recording)
        presence = Presence(relay, hub, people, settings.disconnect_grace)
        typing = Typing(relay, hub, str(uuid4()), asyncio.get_running_loop().time)
        verification_keys = parts.verification_keys(settings)
        tokens = parts.tokens(settings, verification_keys)
        rate = Rate(settings.rate_per_second, settings.rate_burst, asyncio.get_running_loop().time)
        attendance = Attendance(sessions, presence, typing, visits)
        tally, pulse, lag = Tally(), Pulse(settings.node), Lag(database, settings.database_timeout)
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
            damaged=mapper.damaged,
        )
        lease.fenced, lease.renewed = attendance.fenced, presence.trust
        stack.push_async_callback(hub.close)
        stack.push_async_callback(markers.close)
        stack.push_async_callback(telling.close)
        services = Services(
            settings=settings,
            readiness=readiness,
            probe=await stack.enter_async_context(parts.probe(settings)),
            relay=relay,
            chat=chat,
            markers=markers,
            hub=hub,
            people=people,
            mapper=mapper,
            log=reader,
            past=PastReader(database, mapper, settings.database_timeout),
            register=register.of_node(appender, mapper, keys),
            bell=bell,
            reads=reads,
            tokens=tokens,
            oidc=Oidc(settings, tokens) if settings.oidc_client_id else None,
            renewals=parts.renewals(settings),
            rate=rate,
            handshakes=Handshakes(
                settings.handshake_rate, settings.handshake_burst, asyncio.get_running_loop().time
            ),
            sessions=sessions,
            presence=presence,
            typing=typing,
            attendance=attendance,
            judging=Judging(chat, people, appender, reader, keys, database),
            erase=partial(erase, database, deadline=settings.database_timeout),
            leave_rooms=partial(leave_rooms, database, mapper, deadline=settings.database_timeout),
            tally=tally,
            traces=traces,
            exposition=Exposition(pulse.write, numbers.write, lag.write),
            now=clock.now,
        )
        receipts = ReceiptsAgain(hub, Views(services).receipts)
        relay.on_resync(receipts.due)
        await stack.enter_async_context(
            supervise.background(
                append=appender.run,
                relay=relay.run,
                probe=relay.probe,
                ready=readiness.run,
                tail=lambda: readiness.then(tail.run),
                notify=lambda: notify.listen(
                    parts.connecting(settings), [tail.wake, bell.ring], settings.database_timeout
                ),
                receipts=receipts.run,
                lease=lambda: readiness.then(lease.run),
                visits=lambda: readiness.then(visits.run),
                reap=lambda: readiness.then(reaper.run),
                presence=presence.run,
                notices=presence.tell,
                typing=typing.run,
                rate=SharedRate(rate, relay).run,
                tokens=sessions.run,
                clock=lambda: readiness.then(clock.run),
                pulse=pulse.run,
                lag=lambda: readiness.then(lambda: supervise.every(LAG_EVERY, lag.look)),
                expire=lambda: readiness.then(
                    lambda: supervise.every(PURGE_EVERY, lambda: _expire(database, mapper, settings))
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


async def _leave(presence: Presence, visits: Visits, lease: Lease, seconds: float) -> None:
    """End in order, with everything still running: the connections are closed by now."""
    presence.goodbye()
    await visits.drain(seconds)
    await lease.end()


async def _expire(database: Any, mapper: Mapper, settings: Settings) -> None:
    await expire(database, mapper, by=f"node:{settings.node}", deadline=settings.database_timeout)


async def _purge(database: Any, deadline: float) -> None:
    await refs.purge(database, deadline)
    await leases.purge(database, deadline)
