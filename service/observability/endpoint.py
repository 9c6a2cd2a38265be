"""Serves `GET /metrics`, at the node's own address or on a separate port.

The contract lists `/metrics` beside the other addresses, so it is served by default. The metrics contain no names and
no content, but the amount of activity can be confidential: `ONRECORD_METRICS_TOKEN` requires a token, and
`ONRECORD_METRICS_PORT` moves the metrics to that port. If the metrics are public, a node logs that when it starts.
"""

import asyncio
import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from service.config.environment import SettingsInvalid
from service.config.settings import Settings
from service.observability.exposition import Exposition
from service.runtime.token_bucket import LineLimit

LOG_EVERY = 10.0
"""Seconds between two log lines about refused scrapes."""

log = logging.getLogger("onrecord.metrics")

EVERYWHERE = [("X-Content-Type-Options", "nosniff")]
"""The headers of every HTTP response."""


def metrics_route(exposition: Exposition, token: str) -> Route:
    """Return the route `GET /metrics`; an empty `token` means that none is required."""
    lines = LineLimit(time.monotonic, (1 / LOG_EVERY, 1))

    async def scrape(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if token and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            if (withheld := lines.admit()) is not None:
                log.warning(
                    "refused",
                    extra={
                        "door": "metrics",
                        "reason": "token_invalid",
                        "address": request.client.host if request.client else None,
                        "withheld": withheld,
                    },
                )
            problem = "The metrics require ONRECORD_METRICS_TOKEN as a bearer token.\n"
            return PlainTextResponse(problem, 401, {"WWW-Authenticate": "Bearer"})
        text, media_type = exposition.render(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": media_type, "Cache-Control": "no-store"})

    return Route("/metrics", scrape)


class _MetricsServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the node's own server."""
        yield


@asynccontextmanager
async def metrics_server(
    settings: Settings,
    exposition: Exposition,
    http: type[asyncio.Protocol],
    application: Callable[[Sequence[BaseRoute]], Starlette],
) -> AsyncIterator[None]:
    """Serve the metrics on `ONRECORD_METRICS_PORT`, if that is set, for as long as the block lasts.

    `http` is the class of its connections, so that the same limits hold for requests; `application` returns the ASGI
    application of routes, so that errors look the same.

    Raises:
        SettingsInvalid: the port is not free.
    """
    if not settings.metrics_port:
        yield
        return
    metrics = metrics_route(exposition, settings.metrics_token)
    server = _MetricsServer(
        uvicorn.Config(
            application([metrics, Route("/healthz", _healthz)]),
            http=http,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=EVERYWHERE,
            timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type] # a fraction works
        )
    )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.metrics_port), family=family)
    except OSError as problem:
        raise not_listening(settings.host, settings.metrics_port, "ONRECORD_METRICS_PORT") from problem
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await serving
        listener.close()


def not_listening(host: str, port: int, setting: str) -> SettingsInvalid:
    """Return the error of a port that another process took after the settings were checked."""
    return SettingsInvalid([f"OnRecord cannot listen on {host} port {port}: choose another with {setting}."])


def is_public(settings: Settings) -> bool:
    """Return whether every client that reaches the node's own address may scrape."""
    try:
        local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        local = settings.host == "localhost"
    return not (local or settings.metrics_token or settings.metrics_port)


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok")
