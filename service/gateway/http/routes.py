"""The HTTP side of a node: the page, health, the contract's documents, the reads, and development's demo sign-in."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from service.errors import DemoNamesOff
from service.gateway.http import documents
from service.gateway.http.admin import Admin
from service.gateway.http.audits import AUDITS, Audits
from service.gateway.http.body import body
from service.gateway.http.endpoint import routes
from service.gateway.http.rooms import READS, Reads
from service.gateway.http.signin import SignIn
from service.gateway.services import Services
from service.observability.endpoint import Metrics
from service.protocol.http import DemoSignIn, Readiness

STATIC = Path(__file__).parent.parent.parent / "static"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
DEMO_LIFETIME = 3600.0
"""Seconds that a demo token holds."""


class Http:
    """The HTTP endpoints over a node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services

    def routes(self) -> list[BaseRoute]:
        """Return the routes; the demo sign-in is there in development only."""
        served: list[BaseRoute] = [
            Route("/", self.page),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/asyncapi.yaml", self.asyncapi),
            Route("/openapi.yaml", self.openapi),
            *routes(self._s, READS, Reads(self._s)),
            *routes(self._s, AUDITS, Audits(self._s)),
            *Admin(self._s).routes(),
            *SignIn(self._s, self.page).routes(),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        settings = self._s.settings
        if not settings.metrics_port:
            served.append(Metrics(self._s.exposition, settings.metrics_token).route())
        if settings.dev:
            served.append(Route("/dev/token", self.demo_token, methods=["POST"]))
        return served

    async def page(self, _request: Request) -> Response:
        """`GET /`: the web client."""
        return FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)

    async def healthz(self, _request: Request) -> Response:
        """`GET /healthz`: the process lives and answers."""
        return PlainTextResponse("ok")

    async def readyz(self, _request: Request) -> Response:
        """`GET /readyz`: 200 where commands can be recorded now, 503 otherwise. A deaf bus is shown and is no obstacle.

        How the log answers may be some moments old: see `service.eventstore.health_probe`.
        """
        if not await self._s.probe.answers():
            log_state = "unreachable"
        else:
            log_state = "ok" if self._s.readiness.ready else "not fit to serve"
        ready = log_state == "ok"
        bus = "ok" if self._s.relay.hearing else "deaf"
        told = Readiness(ready=ready, log=log_state, bus=bus, connections=len(self._s.sessions))
        return Response(msgspec.json.encode(told), 200 if ready else 503, media_type="application/json")

    async def asyncapi(self, _request: Request) -> Response:
        """`GET /asyncapi.yaml`: the contract of the doors."""
        return await _document(documents.asyncapi_yaml)

    async def openapi(self, _request: Request) -> Response:
        """`GET /openapi.yaml`: the contract of what is here."""
        return await _document(documents.openapi_yaml)

    async def demo_token(self, request: Request) -> Response:
        """`POST /dev/token`: a token for whoever asks."""
        if not self._s.settings.demo_names:
            raise DemoNamesOff
        wanted = await body(request, DemoSignIn)
        return JSONResponse({"token": self._s.tokens.sign(wanted.user_id, wanted.name, DEMO_LIFETIME)})


async def _document(make: Callable[[], str]) -> Response:
    # It is made once, which takes longer than the connections of this node should have to wait.
    text = await asyncio.to_thread(make)
    return Response(text, media_type=documents.MEDIA_TYPE, headers={"Cache-Control": "no-cache"})
