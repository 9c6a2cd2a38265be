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
from service.gateway.auth.claims import ClaimRules
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.auth.jwks import PublishedKeys, SharedSecret
from service.gateway.auth.oidc import Oidc
from service.gateway.auth.refresh_cookie import RefreshCookies
from service.gateway.auth.refusal_log import RefusalLog
from service.gateway.auth.tokens import TokenVerifier
from service.gateway.commands.admission import Admission, SessionStarter
from service.gateway.commands.connect import ConnectHandler
from service.gateway.commands.direct_posts import DirectPosts
from service.gateway.commands.dispatcher import Dispatcher
from service.gateway.commands.handlers import Handler, Handlers
from service.gateway.commands.join import JoinHandlers
from service.gateway.http.actions import Actions
from service.gateway.http.audits import Audits
from service.gateway.http.request import RequestGuard
from service.gateway.http.rooms import Reads
from service.gateway.http.routes import Http
from service.gateway.http.signin import SignIn
from service.gateway.native.endpoint import NATIVE, NativeEndpoint
from service.gateway.notices.receipts import ReceiptsResync
from service.gateway.queries.queries import Queries
from service.gateway.queries.reports import ReportQueries
from service.gateway.queries.views import Views
from service.gateway.session.counters import Counters
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.rooms import RoomLimits
from service.gateway.socketio.endpoint import SocketIoEndpoint
from service.gateway.socketio.session import SOCKETIO
from service.gateway.transport.client_address import ClientAddresses
from service.gateway.transport.receive_budget import ReceiveBudget
from service.node.application import Application
from service.node.live import Live
from service.node.metrics import NodeMetrics
from service.node.projection_lag import Lag
from service.node.storage import Storage
from service.observability.exposition import Exposition
from service.observability.process import ProcessMetrics
from service.runtime.direct_sockets import DirectSockets
from service.runtime.token_bucket import TokenBuckets
from service.runtime.turns import Turns

if TYPE_CHECKING:
    from service.tracing import Traces


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The gateway layer, and what the server needs of the others."""

    native: NativeEndpoint
    socketio: SocketIoEndpoint
    routes: list[BaseRoute]
    counters: Counters
    receiving: ReceiveBudget
    turns: Turns
    exposition: Exposition
    readiness: Readiness
    sessions: SessionRegistry
    sockets: DirectSockets
    receipts: ReceiptsResync
    keys: SharedSecret | PublishedKeys
    process: ProcessMetrics
    lag: Lag
    refusals: RefusalLog


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
    budget = settings.max_outbox // 2  # a frame has to fit into the outbox with room to spare
    models, feeds, people = storage.read_models, live.hub.feeds, live.people
    clock = asyncio.get_running_loop().time
    views = Views(models, storage.reader, feeds, people, application.presence, storage.clock.now, budget)
    handshakes = HandshakeLimit(settings.handshake_rate, settings.handshake_burst, clock)
    builder = _Builder(
        settings=settings,
        storage=storage,
        live=live,
        application=application,
        views=views,
        queries=Queries(models, views, feeds, people, budget),
        reports=ReportQueries(
            storage.report_reader, views, application.access_log, settings.reports_to_admins
        ),
        tokens=_tokens(settings, keys),
        handshakes=handshakes,
        refusals=RefusalLog(clock),
        counters=Counters(),
        receiving=ReceiveBudget(
            settings.unauthenticated_bytes, ClientAddresses(settings.trusted_proxies), clock
        ),
        turns=Turns(),
    )
    process, lag = ProcessMetrics(settings.node), Lag(storage.pool, settings.database_timeout)
    stack.enter_context(process.watching_gc())
    native, socketio = builder.endpoints(traces)
    exposition = Exposition(process.write, builder.metrics(lag).write, lag.write)
    return Gateway(
        native=native, socketio=socketio, routes=builder.http(exposition).routes(), counters=builder.counters,
        receiving=builder.receiving, turns=builder.turns, exposition=exposition, readiness=storage.readiness,
        sessions=live.sessions, sockets=live.sockets, refusals=builder.refusals,
        receipts=ReceiptsResync(live.hub.audience, views.markers), keys=keys, process=process, lag=lag,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Builder:
    """The lower layers, and the parts that endpoints and HTTP routes share."""

    settings: Settings
    storage: Storage
    live: Live
    application: Application
    views: Views
    queries: Queries
    reports: ReportQueries
    tokens: TokenVerifier
    handshakes: HandshakeLimit
    refusals: RefusalLog
    counters: Counters
    receiving: ReceiveBudget
    turns: Turns

    def endpoints(self, traces: "Traces | None") -> tuple[NativeEndpoint, SocketIoEndpoint]:
        settings, live, readiness = self.settings, self.live, self.storage.readiness
        lifecycle, presence = self.application.lifecycle, self.application.presence
        limits = RoomLimits(settings.max_rooms, settings.max_added_rooms)
        connect = ConnectHandler(
            self.views, live.hub, readiness, lifecycle, settings.ping_interval, settings.ping_timeout, limits
        )
        starter = SessionStarter(live.sessions, live.people, self.application.names, connect, lifecycle)
        charges, chat, typing = self.application.charges, self.application.chat, self.application.typing
        dispatcher = Dispatcher(self._handlers(), charges, presence, self.counters, self.turns, traces)
        posts = DirectPosts(dispatcher, chat, typing, settings.max_mentions)
        admission = partial(
            Admission,
            origins=settings.origins,
            limits=limits,
            handshakes=self.handshakes,
            session_limit=TokenBuckets(
                settings.session_rate, settings.session_burst, asyncio.get_running_loop().time
            ),
            readiness=readiness,
            tokens=self.tokens,
            sessions=live.sessions,
            presence=presence,
            counters=self.counters,
            refusals=self.refusals,
            turns=self.turns,
        )
        common = (starter, dispatcher, live.hub, settings)
        return (
            NativeEndpoint(admission(door=NATIVE), *common, posts),
            SocketIoEndpoint(admission(door=SOCKETIO), *common),
        )

    def _handlers(self) -> dict[str, Handler]:
        live, application = self.live, self.application
        joins = JoinHandlers(
            views=self.views,
            chat=application.chat,
            hub=live.hub,
            people=live.people,
            sessions=live.sessions,
            readiness=self.storage.readiness,
            now=self.storage.clock.now,
            join_creates=self.settings.join_creates,
            additions=application.additions,
            people_queries=application.people_queries,
        )
        handlers = Handlers(
            chat=application.chat,
            markers=application.read_markers,
            views=self.views,
            typing=application.typing,
            presence=application.presence,
            sessions=live.sessions,
            tokens=self.tokens,
            refusals=self.refusals,
            reports=application.reports,
            report_queries=self.reports,
            blocks=application.blocks,
            people=live.people,
            people_queries=application.people_queries,
            max_mentions=self.settings.max_mentions,
        )
        return handlers.by_type(joins, self.queries)

    def http(self, exposition: Exposition) -> Http:
        settings, storage, live = self.settings, self.storage, self.live
        return Http(
            settings=settings,
            guard=RequestGuard(
                origins=settings.origins,
                readiness=storage.readiness,
                tokens=self.tokens,
                people=live.people,
                charges=self.application.charges,
                refusals=self.refusals,
            ),
            reads=Reads(
                storage.read_models,
                self.views,
                self.queries,
                live.hub.feeds,
                storage.reader,
                self.reports,
                self.application.people_queries,
                self.application.own_data,
            ),
            audits=self._audits(),
            actions=self._actions(),
            signin=self._signin(),
            tokens=self.tokens,
            exposition=exposition,
            probe=storage.probe,
            readiness=storage.readiness,
            relay=live.relay,
            sessions=live.sessions,
        )

    def _audits(self) -> Audits:
        reader = self.storage.as_of_reader
        return Audits(
            reader=reader,
            stream=Stream(reader, self.application.waker, self.settings.catchup_interval),
            access_log=self.application.access_log,
            views=self.views,
            people=self.live.people,
            readiness=self.storage.readiness,
            show_readings=self.settings.show_readings,
        )

    def _actions(self) -> Actions:
        storage, deadline, application = self.storage, self.settings.database_timeout, self.application
        remove = partial(erase, storage.pool, deadline=deadline)
        leave = partial(leave_rooms, storage.pool, storage.serializer, deadline=deadline)
        return Actions(
            storage.read_models, application.suspensions, remove, leave,
            application.reports, self.reports, application.read_markers, application.people_queries,
        )  # fmt: skip

    def _signin(self) -> SignIn:
        settings = self.settings
        if not settings.oidc_client_id:
            return SignIn(settings, None, None, self.handshakes, self.refusals)
        cookies = RefreshCookies(
            settings.key_encryption_key, settings.jwt_issuer or "", settings.oidc_client_id
        )
        return SignIn(settings, Oidc(settings, self.tokens), cookies, self.handshakes, self.refusals)

    def metrics(self, lag: Lag) -> NodeMetrics:
        storage, live = self.storage, self.live
        return NodeMetrics(
            readiness=storage.readiness, sessions=live.sessions, counters=self.counters, receiving=self.receiving,
            appender=live.appender, pools={"log": storage.pool, "reads": storage.read_pool}, lease=live.lease,
            session_log=live.session_log, hub=live.hub, relay=live.relay, lag=lag,
            damaged=storage.serializer.damaged, log_budget=self.application.log_budget, sockets=live.sockets,
        )  # fmt: skip


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
        rules=ClaimRules.of(settings),
    )
