"""Builds the live layer of a node: the bus, the hub, the appender, and the node's membership in the cluster.

Redis does not have to be reachable when a node starts.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from service.cluster.bus import Accept, InProcessBackend, InProcessBus, Missed
from service.cluster.envelope import Envelope, channel_prefix
from service.cluster.leases import Lease
from service.cluster.redis_bus import RedisBus
from service.cluster.relay import Relay
from service.cluster.session_log import SessionAppender, SessionLog
from service.cluster.session_reaper import Reaper
from service.config.settings import Settings
from service.errors import Unavailable
from service.eventstore.appender import READ_COMMITTED, Appender
from service.gateway.engineio import FRAME, PACKET
from service.gateway.native.endpoint import NATIVE, native_frame
from service.gateway.notices.memberships import MembershipNotifier
from service.gateway.session.registry import SessionRegistry
from service.gateway.transport.io_uring import direct_sockets
from service.gateway.websocket.frames import text_frame
from service.node.pipeline import after_commit, close_misinformed
from service.node.storage import Storage
from service.protocol.events import Outgoing
from service.protocol.socketio.emits import event_packet
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache
from service.runtime.direct_sockets import DirectSockets

if TYPE_CHECKING:
    from service.tracing import Traces

CONCATENABLE = NATIVE
"""The wire format whose frames the hub may join into one write; Socket.IO sessions may add an offset to each."""

ENCODERS: dict[str, Callable[[Outgoing], bytes]] = {
    NATIVE: native_frame,
    PACKET: event_packet,
    FRAME: lambda outgoing: text_frame(event_packet(outgoing)),
}
"""The encoder of each wire format of a session."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """The live layer."""

    relay: Relay
    sockets: DirectSockets
    sessions: SessionRegistry
    people: UserCache
    hub: Hub
    notifier: MembershipNotifier
    appender: Appender
    lease: Lease
    session_log: SessionLog
    reaper: Reaper


async def build_live(
    settings: Settings, storage: Storage, bus: InProcessBus, traces: "Traces | None", stack: AsyncExitStack
) -> Live:
    """Return the live layer, closed with `stack`; `bus` connects it to other nodes where Redis is not configured."""
    relay = await stack.enter_async_context(await _relay(settings, storage, bus))
    sessions = SessionRegistry(settings.max_connections)
    people = UserCache(storage.reader)
    sockets = direct_sockets(settings.uring)
    stack.callback(sockets.close)
    hub = Hub(
        storage.reader, people, ENCODERS, CONCATENABLE, sockets, storage.clock.now,
        ring_bytes=settings.ring_bytes,
        on_follow=relay.follow, on_unfollow=relay.unfollow, on_resync=partial(close_misinformed, sessions),
    )  # fmt: skip
    notifier = MembershipNotifier(sessions, hub.feeds, people)
    stack.push_async_callback(hub.close)
    stack.push_async_callback(notifier.close)
    appender = Appender(
        partial(storage.connector.connect, READ_COMMITTED),
        storage.serializer,
        known_head=hub.feeds.known_head,
        on_commit=after_commit(hub, relay, notifier, traces),
        deadline=settings.database_timeout,
    )
    lease = Lease(storage.pool, settings.node, deadline=settings.database_timeout)
    session_events = SessionAppender(storage.pool, appender, storage.serializer, settings.database_timeout)
    return Live(
        relay=relay, sockets=sockets, sessions=sessions, people=people, hub=hub, notifier=notifier,
        appender=appender, lease=lease,
        session_log=SessionLog(session_events, lease), reaper=Reaper(session_events, lease),
    )  # fmt: skip


async def _relay(settings: Settings, storage: Storage, bus: InProcessBus) -> Relay:
    """Return the bus to the other nodes: Redis if configured, otherwise `bus`, shared in this process."""
    clock, readiness = storage.clock, storage.readiness

    def backend(missed: Missed, accept: Accept) -> InProcessBackend | RedisBus:
        if not settings.redis_url:
            return InProcessBackend(bus, missed, accept)
        prefix = channel_prefix(settings.bus_key)
        return RedisBus(settings.redis_url, settings.redis_timeout, prefix, missed, accept)

    if readiness.ready:
        with suppress(Unavailable):  # `clock.run` tries again
            await clock.synchronize()
    envelope = Envelope(
        settings.bus_key,
        uuid4(),
        epoch=lambda: readiness.epoch if clock.synchronized else "",
        now=clock.microseconds,
    )
    return Relay(backend, envelope, request_sync=clock.request_sync)
