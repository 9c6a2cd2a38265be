"""Builds the gateway layer of a node: queries, commands, the endpoints, the HTTP routes and the metrics."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from service.audit.history.event_stream import Stream
from service.audit.privacy.erasure import erase
from service.audit.privacy.leave_rooms import leave_rooms
from service.config.settings import PUBLISHED, SHARED, Settings
from service.eventstore.readiness import Readiness
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.auth.jwks import PublishedKeys, SharedSecret
from service.gateway.auth.oidc import Oidc
from service.gateway.auth.refresh_cookie import RefreshCookies
from service.gateway.auth.tokens import TokenVerifier
from service.gateway.commands.admission import Admission, SessionStarter
from service.gateway.commands.connect import ConnectHandler
from service.gateway.commands.dispatcher import Dispatcher
from service.gateway.commands.handlers import Handler, Handlers
from service.gateway.commands.join import JoinHandlers
from service.gateway.http.admin import Admin
from service.gateway.http.audits import Audits
from service.gateway.http.request import RequestGuard
from service.gateway.http.rooms import Reads
from service.gateway.http.routes import Health, Http
from service.gateway.http.signin import SignIn
from service.gateway.native.endpoint import NATIVE, NativeEndpoint
from service.gateway.notices.remote import ReceiptsResync
from service.gateway.queries.queries import Queries
from service.gateway.queries.room_list import RoomList
from service.gateway.queries.views import Views
from service.gateway.session.counters import Counters
from service.gateway.session.registry import SessionRegistry
from service.gateway.socketio.endpoint import SocketIoEndpoint
from service.gateway.socketio.session import SOCKETIO
from service.node.application import Application
from service.node.live import Live
from service.node.metrics import NodeMetrics
from service.node.projection_lag import Lag
from service.node.storage import Storage
from service.observability.exposition import Exposition
from service.observability.process import Pulse
from service.realtime.direct_sockets import DirectSockets

if TYPE_CHECKING:
    from service.tracing import Traces


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The gateway layer, and what the server needs of the others."""

    native: NativeEndpoint
    socketio: SocketIoEndpoint
    routes: list[BaseRoute]
    counters: Counters
    exposition: Exposition
    readiness: Readiness
    sessions: SessionRegistry
    sockets: DirectSockets
    receipts: ReceiptsResync
    keys: SharedSecret | PublishedKeys
    pulse: Pulse
    lag: Lag


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """The parts that the sockets' endpoints and the HTTP routes share."""

    views: Views
    queries: Queries
    tokens: TokenVerifier
    handshakes: HandshakeLimit
    counters: Counters


def build_gateway(
    settings: Settings,
    storage: Storage,
    live: Live,
    application: Application,
    traces: "Traces | None",
    stack: AsyncExitStack,
) -> Gateway:
    """Return the gateway layer, released with `stack`."""
    keys = _verification_keys(settings)
    shared = _shared(settings, storage, live, application, _tokens(settings, keys))
    native, socketio = _endpoints(settings, storage, live, application, shared, traces)
    pulse, lag = Pulse(settings.node), Lag(storage.pool, settings.database_timeout)
    stack.enter_context(pulse.watching_gc())
    metrics = _metrics(storage, live, shared.counters, lag)
    exposition = Exposition(pulse.write, metrics.write, lag.write)
    return Gateway(
        native=native,
        socketio=socketio,
        routes=_http(settings, storage, live, application, shared, exposition).routes(),
        counters=shared.counters,
        exposition=exposition,
        readiness=storage.readiness,
        sessions=live.sessions,
        sockets=live.sockets,
        receipts=ReceiptsResync(live.hub.audience, shared.views.receipts),
        keys=keys,
        pulse=pulse,
        lag=lag,
    )


def _shared(
    settings: Settings, storage: Storage, live: Live, application: Application, tokens: TokenVerifier
) -> _Shared:
    budget = settings.max_outbox // 2  # a frame has to fit into the outbox with room to spare
    models, now = storage.read_models, storage.clock.now
    views = Views(models, live.hub.feeds, live.people, application.presence, now, budget)
    return _Shared(
        views=views,
        queries=Queries(views, RoomList(models, views, live.hub.feeds, live.people, budget)),
        tokens=tokens,
        handshakes=HandshakeLimit(
            settings.handshake_rate, settings.handshake_burst, asyncio.get_running_loop().time
        ),
        counters=Counters(),
    )


def _endpoints(
    settings: Settings,
    storage: Storage,
    live: Live,
    application: Application,
    shared: _Shared,
    traces: "Traces | None",
) -> tuple[NativeEndpoint, SocketIoEndpoint]:
    lifecycle, presence = application.lifecycle, application.presence
    connect = ConnectHandler(shared.views, live.hub, storage.readiness, lifecycle, settings.ping_interval)
    starter = SessionStarter(live.sessions, live.people, application.chat, connect, lifecycle)
    handlers = _handlers(settings, storage, live, application, shared)
    dispatcher = Dispatcher(handlers, application.rate, presence, shared.counters, traces)
    admission = partial(
        Admission,
        origins=settings.origins,
        max_rooms=settings.max_rooms,
        handshakes=shared.handshakes,
        readiness=storage.readiness,
        tokens=shared.tokens,
        sessions=live.sessions,
        presence=presence,
        counters=shared.counters,
    )
    common = (starter, dispatcher, lifecycle, live.hub, settings)
    return NativeEndpoint(admission(door=NATIVE), *common), SocketIoEndpoint(
        admission(door=SOCKETIO), *common
    )


def _handlers(
    settings: Settings, storage: Storage, live: Live, application: Application, shared: _Shared
) -> dict[str, Handler]:
    joins = JoinHandlers(
        views=shared.views,
        chat=application.chat,
        hub=live.hub,
        people=live.people,
        sessions=live.sessions,
        readiness=storage.readiness,
        now=storage.clock.now,
        join_creates=settings.join_creates,
    )
    handlers = Handlers(
        chat=application.chat,
        markers=application.read_markers,
        views=shared.views,
        typing=application.typing,
        presence=application.presence,
        sessions=live.sessions,
        tokens=shared.tokens,
    )
    return handlers.by_type(joins, shared.queries)


def _http(
    settings: Settings,
    storage: Storage,
    live: Live,
    application: Application,
    shared: _Shared,
    exposition: Exposition,
) -> Http:
    tokens, deadline = shared.tokens, settings.database_timeout
    audits = Audits(
        past=storage.as_of_reader,
        stream=Stream(storage.as_of_reader, application.waker, settings.catchup_interval),
        access_log=application.access_log,
        views=shared.views,
        people=live.people,
        readiness=storage.readiness,
        show_readings=settings.show_readings,
    )
    admin = Admin(
        storage.read_models,
        application.suspensions,
        partial(erase, storage.pool, deadline=deadline),
        partial(leave_rooms, storage.pool, storage.serializer, deadline=deadline),
    )
    return Http(
        settings=settings,
        guard=RequestGuard(
            origins=settings.origins,
            readiness=storage.readiness,
            tokens=tokens,
            people=live.people,
            rate=application.rate,
        ),
        reads=Reads(storage.read_models, shared.views, shared.queries, live.hub.feeds, storage.reader),
        audits=audits,
        admin=admin,
        signin=_signin(settings, tokens, shared.handshakes),
        health=Health(
            probe=storage.probe, readiness=storage.readiness, relay=live.relay, sessions=live.sessions
        ),
        tokens=tokens,
        exposition=exposition,
    )


def _signin(settings: Settings, tokens: TokenVerifier, handshakes: HandshakeLimit) -> SignIn:
    if not settings.oidc_client_id:
        return SignIn(settings, None, None, handshakes)
    cookies = RefreshCookies(settings.key_encryption_key, settings.jwt_issuer or "", settings.oidc_client_id)
    return SignIn(settings, Oidc(settings, tokens), cookies, handshakes)


def _metrics(storage: Storage, live: Live, counters: Counters, lag: Lag) -> NodeMetrics:
    return NodeMetrics(
        readiness=storage.readiness,
        sessions=live.sessions,
        counters=counters,
        appender=live.appender,
        pools={"log": storage.pool, "reads": storage.read_pool},
        lease=live.lease,
        session_log=live.session_log,
        hub=live.hub,
        relay=live.relay,
        lag=lag,
        damaged=storage.serializer.damaged,
    )


def _verification_keys(settings: Settings) -> SharedSecret | PublishedKeys:
    if settings.jwt_jwks:
        return PublishedKeys(settings.jwt_jwks, asyncio.get_running_loop().time)
    return SharedSecret(settings.jwt_secret)


def _tokens(settings: Settings, keys: SharedSecret | PublishedKeys) -> TokenVerifier:
    return TokenVerifier(
        keys,
        settings.jwt_algorithms or (PUBLISHED if settings.jwt_jwks else SHARED),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
    )
