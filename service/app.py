"""The composition root: what each command runs, put together from the parts; the only importer of everything."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service import console, logs, supervise, workers
from service.errors import OnRecordError
from service.log import schema
from service.metrics.endpoint import aside, open_to_strangers
from service.node import node
from service.parts import traced
from service.projecting import project, projector
from service.proving import sealer
from service.settings import Settings
from service.wire.drain import drain
from service.wire.http import Http
from service.wire.native import NativeDoor
from service.wire.problem import problem
from service.wire.requests import http_class
from service.wire.services import Services
from service.wire.socketio.door import SocketIoDoor
from service.wire.websocket import transport_class

if TYPE_CHECKING:
    from service.embedded import Servers  # comes with the development extra

GC_THRESHOLDS = (10_000, 20, 50)
"""New objects per young collection, young ones per middle one, middle ones per full one (`gc.set_threshold`)."""

LAST_WORDS = 0.2
"""Seconds that a stopping server gives its last requests, however little time is left."""

log = logging.getLogger("onrecord.app")


def application(services: Services, socketio: SocketIoDoor) -> Starlette:
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
        self._socketio = SocketIoDoor(services)
        super().__init__(
            uvicorn.Config(
                application(services, self._socketio),
                host=settings.host,
                port=settings.port,
                http=http_class(cut=services.tally.requests),
                ws=transport_class(
                    doors={"/ws": NativeDoor(services)},
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


def run_serve(settings: Settings) -> int:
    """`onrecord serve`: a node, until it is told to stop."""
    logs.configure(settings, words=False)

    async def run() -> None:
        async with _served(settings) as services:
            await Server(services, _say_ready).serve()

    console.run(run())
    return 0


def run_worker(settings: Settings, parent: workers.Parent) -> int:
    """A worker of `onrecord serve --workers N`: a node on a port that others share."""
    logs.configure(settings, words=False)

    async def run() -> None:
        parent.watch()
        async with _served(settings) as services:
            listener = workers.listener(settings.host, settings.port)
            await Server(services, parent.ready).serve([listener])

    console.run(run())
    return 0


def run_workers(settings: Settings, count: int) -> int:
    """`onrecord serve --workers N`: their parent, until it is told to stop."""
    logs.configure(settings, words=False)
    return int(console.run(workers.run(settings, count, _say_ready)))


def run_dev(settings: Settings, servers: "Servers") -> int:
    """`onrecord dev`: migrate, project and serve, over embedded servers that the caller runs."""
    logs.configure(settings, words=True)
    schema.migrate(servers.migrate_database_url, servers.database_url, servers.projector_database_url)

    async def run() -> None:
        async with supervise.background(servers=servers.watch), _served(settings) as services:
            following = projector(settings, watch=services.traces.projected if services.traces else None)
            async with supervise.background(project=lambda: project(following, sealer(settings))):
                await Server(services, _welcome).serve()

    console.run(run())
    return 0


def run_migrate(settings: Settings) -> int:
    """`onrecord migrate`: print the versions applied."""
    for version in schema.migrate(
        settings.migrate_database_url, settings.database_url, settings.projector_database_url
    ):
        print(version)  # noqa: T201 - a command's output
    return 0


@asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[Services]:
    """A node with its metrics, aside where that is set."""
    if open_to_strangers(settings):
        log.warning("metrics_open", extra={"advice": "set ONRECORD_METRICS_PORT or ONRECORD_METRICS_TOKEN"})
    async with (
        traced(settings) as traces,
        node(settings, traces=traces) as services,
        aside(settings, services.exposition, http_class(cut=services.tally.requests)),
    ):
        yield services


def _say_ready(address: str) -> None:
    print(f"OnRecord listens on {address}", flush=True)  # noqa: T201 - a command's output


def _welcome(address: str) -> None:
    print(  # noqa: T201 - a command's output
        f"\n  OnRecord is running: {address}\n\n"
        "  Open it in two browser windows, sign in under two names, join the same room and chat.\n"
        "  A token for a program:   onrecord token --user alice\n"
        "  The record of a room:    onrecord audit replay --room general\n"
        "  Ctrl-C stops it; the history stays.\n",
        flush=True,
    )
