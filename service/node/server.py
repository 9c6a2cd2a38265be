"""The server of a node: its ASGI application over uvicorn, its start and its shutdown."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.config.settings import Settings
from service.errors import OnRecordError
from service.gateway.http.protocol import http_class
from service.gateway.http.routes import Http
from service.gateway.native.endpoint import NativeEndpoint
from service.gateway.services import Services
from service.gateway.session.drain import drain
from service.gateway.socketio.endpoint import SocketIoEndpoint
from service.gateway.transport.problem import problem
from service.gateway.websocket.connection import transport_class
from service.node.factories import traced
from service.node.node import node
from service.observability.endpoint import is_public, metrics_server

GC_THRESHOLDS = (10_000, 20, 50)
"""New objects per young collection, young ones per middle one, middle ones per full one (`gc.set_threshold`)."""

LAST_WORDS = 0.2
"""Seconds that a stopping server gives its last requests, however little time is left."""

log = logging.getLogger("onrecord.app")


def application(services: Services, socketio: SocketIoEndpoint) -> Starlette:
    """Return the ASGI application over a node's services."""
    routes = [*socketio.routes(), *Http(services).routes()]
    return Starlette(
        routes=routes,
        middleware=cross_origin(services.settings.origins),
        exception_handlers={OnRecordError: problem, HTTPException: problem, Exception: problem},
    )


def cross_origin(origins: Sequence[str]) -> list[Middleware]:
    """Return what lets pages of these very origins read over HTTP (CORS); the server's own page needs none."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_credentials=True,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization"],
            expose_headers=["Retry-After", "WWW-Authenticate"],
        )
    ]


class Server(uvicorn.Server):
    """uvicorn, saying when it listens."""

    def __init__(self, services: Services, ready: Callable[[str], None]) -> None:
        settings = services.settings
        self._services = services
        self._ready = ready
        self._socketio = SocketIoEndpoint(services)
        super().__init__(
            uvicorn.Config(
                application(services, self._socketio),
                host=settings.host,
                port=settings.port,
                http=http_class(cut=services.tally.requests),
                ws=transport_class(
                    doors={"/ws": NativeEndpoint(services)},
                    straight=services.hub.straight,
                    max_outbox=settings.max_outbox,
                    ping_interval=settings.ping_interval,
                    ping_timeout=settings.ping_timeout,
                ),
                ws_max_size=settings.max_frame,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # uvicorn would believe whoever comes from this machine, and what its own variable names.
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals to stop, once: uvicorn raises them again afterwards, which cuts off what ends in order."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        # What is built by now stays: no collection has to look at it again, and full ones, which stop everything for
        # as long as they look, come seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no new connections, drain those that there are, then let uvicorn end what is left."""
        services = self._services
        services.readiness.stopping = True
        for server in self.servers:
            server.close()
        # The last part of the time is for the peers' answers to our close frames.
        until = asyncio.get_running_loop().time() + services.settings.drain_seconds
        await drain(services.sessions, services.settings.drain_seconds * 0.8)
        # What uvicorn does not know of: polls, and who has not said yet who they are; it would wait for them.
        await self._socketio.close()
        left = until - asyncio.get_running_loop().time()
        self.config.timeout_graceful_shutdown = max(left, LAST_WORDS)  # type: ignore[assignment] # a fraction will do
        await super().shutdown(sockets)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Services]:
    """A node with its metrics, aside where that is set."""
    if is_public(settings):
        log.warning("metrics_open", extra={"advice": "set ONRECORD_METRICS_PORT or ONRECORD_METRICS_TOKEN"})
    async with (
        traced(settings) as traces,
        node(settings, traces=traces) as services,
        metrics_server(settings, services.exposition, http_class(cut=services.tally.requests)),
    ):
        yield services
