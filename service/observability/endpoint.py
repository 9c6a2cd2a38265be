"""`GET /metrics`: who may scrape, and what they are told; at the node's own address, or at one aside.

The contract lists `/metrics` beside the other addresses, so it is there by default. The numbers name nobody and say
nothing that was written, but how much goes on is not for everybody: `ONRECORD_METRICS_TOKEN` asks for a token, and with
`ONRECORD_METRICS_PORT` the numbers are at that port alone. A node that strangers could ask says so when it starts.
"""

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.config.settings import Settings
from service.observability.exposition import Exposition


class Metrics:
    """The endpoint."""

    def __init__(self, exposition: Exposition, token: str) -> None:
        self._exposition = exposition
        self._token = token.encode()

    def route(self) -> Route:
        """Return the route."""
        return Route("/metrics", self.scrape)

    async def scrape(self, request: Request) -> Response:
        """Answer a scrape."""
        given = request.headers.get("authorization", "").encode()
        if self._token and not hmac.compare_digest(given, b"Bearer " + self._token):
            return PlainTextResponse(
                "The metrics ask for ONRECORD_METRICS_TOKEN.\n", 401, {"WWW-Authenticate": "Bearer"}
            )
        text, media_type = self._exposition.render(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


class _Aside(uvicorn.Server):
    """uvicorn beside another server, whose signals are not its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


@asynccontextmanager
async def metrics_server(
    settings: Settings, exposition: Exposition, http: type[asyncio.Protocol]
) -> AsyncIterator[None]:
    """Serve the metrics at `ONRECORD_METRICS_PORT` for as long as the block lasts, where that is set.

    `http` is the class of its connections, since what a request may cost is the same there.

    Raises:
        OSError: the port cannot be had.
    """
    if not settings.metrics_port:
        yield
        return
    application = Starlette(
        routes=[Metrics(exposition, settings.metrics_token).route(), Route("/healthz", _healthz)]
    )
    server = _Aside(
        uvicorn.Config(
            application,
            http=http,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
    )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.create_server((settings.host, settings.metrics_port), family=family)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await serving
        listener.close()


def is_public(settings: Settings) -> bool:
    """Return whether anybody who reaches the node's own address may scrape."""
    try:
        near = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        near = settings.host == "localhost"
    return not (near or settings.metrics_token or settings.metrics_port)


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok")
