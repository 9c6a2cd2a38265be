"""The server of a node: its ASGI application over uvicorn, its start and its shutdown."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.middleware import Middleware

from service.config.settings import Settings
from service.gateway.http.first_request import FirstRequest, http_class
from service.gateway.http.request import MAX_BODY
from service.gateway.native.endpoint import PATH as NATIVE_PATH
from service.gateway.session.drain import drain
from service.gateway.socketio.endpoint import PATH
from service.gateway.transport.problem import application
from service.gateway.websocket.connection import transport_class
from service.node.cross_origin import CrossOrigin
from service.node.gateway import Gateway
from service.node.node import Node, node
from service.node.traces import traced
from service.observability.endpoint import EVERYWHERE, is_public, metrics_server, not_listening

GC_THRESHOLDS = (2_000, 4, 600)
"""New objects per young collection, young ones per middle one, middle ones per full one (`gc.set_threshold`)."""

MIN_REQUEST_TIMEOUT = 0.2
"""Seconds that a stopping server waits for unfinished requests even if the drain time is over."""

log = logging.getLogger("onrecord.app")


def http_of(gateway: Gateway) -> type[FirstRequest]:
    """Return the class of a node's HTTP connections."""
    return http_class(
        cut=gateway.counters.requests,
        budget=gateway.receiving,
        is_identified=gateway.socketio.is_identified,
        max_body=max(MAX_BODY, gateway.socketio.max_first_payload),
        turns=gateway.turns,
    )


class Server(uvicorn.Server):
    """uvicorn over a node's gateway; `ready` is called with the address once it listens."""

    def __init__(self, settings: Settings, gateway: Gateway, ready: Callable[[str], None]) -> None:
        self._gateway = gateway
        self._drain_seconds = settings.drain_seconds
        self._ready = ready
        super().__init__(
            uvicorn.Config(
                application(
                    [gateway.socketio.route(), gateway.native.route(), *gateway.routes],
                    [Middleware(CrossOrigin, origins=settings.origins, refusals=gateway.refusals)],
                ),
                host=settings.host,
                port=settings.port,
                http=http_of(gateway),
                ws=transport_class(
                    endpoints={NATIVE_PATH: gateway.native, PATH: gateway.socketio.engine},
                    direct_sockets=gateway.sockets,
                    max_outbox=settings.max_outbox,
                    ping_interval=settings.ping_interval,
                    ping_timeout=settings.ping_timeout,
                ),
                ws_max_size=settings.max_frame,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                headers=EVERYWHERE,
                timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type] # a fraction works
                # uvicorn's own defaults trust every proxy on this machine, and those in an environment variable.
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM once; uvicorn would raise them again, which cuts off the orderly shutdown."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def serve(self, sockets: Any = None) -> None:
        """Serve until it is stopped.

        Raises:
            KeyEncryptionKeyMissing, PrivilegesMissing: the log has become available, and this node lacks a key of it,
                or its login a privilege.
        """
        await super().serve(sockets)
        if self._gateway.readiness.wrong is not None:
            raise self._gateway.readiness.wrong

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop."""
        return await super().on_tick(counter) or self._gateway.readiness.wrong is not None

    async def startup(self, sockets: Any = None) -> None:
        """Listen, then call `ready`.

        Raises:
            SettingsInvalid: the port is not free; uvicorn logs why, and would end the process without its cleanup.
        """
        try:
            await super().startup(sockets)
        except (OSError, SystemExit) as problem:
            raise not_listening(self.config.host, self.config.port, "ONRECORD_PORT") from problem
        # Objects that exist by now live as long as the process. Freezing them keeps them out of collections, and full
        # collections, which stop the process for their duration, become rare.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop listening, drain the sessions, then let uvicorn end the remaining requests."""
        self._gateway.readiness.stopping = True
        for server in self.servers:
            server.close()
        # The last fifth of the time is for the peers' answers to our close frames.
        until = asyncio.get_running_loop().time() + self._drain_seconds
        await drain(self._gateway.sessions, self._drain_seconds * 0.8)
        # uvicorn would wait for long polls and for unauthenticated connections.
        await self._gateway.socketio.close()
        left = until - asyncio.get_running_loop().time()
        self.config.timeout_graceful_shutdown = max(left, MIN_REQUEST_TIMEOUT)  # type: ignore[assignment] # a fraction works
        await super().shutdown(sockets)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Node]:
    """Run a node, and the server of its metrics if a separate port is configured."""
    if is_public(settings):
        log.warning("metrics_open", extra={"advice": "set ONRECORD_METRICS_PORT or ONRECORD_METRICS_TOKEN"})
    async with (
        traced(settings) as traces,
        node(settings, traces=traces) as running,
        metrics_server(settings, running.gateway.exposition, http_of(running.gateway), application),
    ):
        yield running
