"""The HTTP routes of a node: page, health, contract documents, reads, actions, sign-in and the demo sign-in."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from service.cluster.relay import Relay
from service.config.settings import Settings
from service.errors import DemoNamesOff, OnRecordError
from service.eventstore.readiness import Probe, Readiness
from service.gateway.auth.tokens import TokenVerifier
from service.gateway.http import documents
from service.gateway.http.actions import Actions
from service.gateway.http.assets import Assets
from service.gateway.http.audits import AUDITS, Audits
from service.gateway.http.endpoint import routes
from service.gateway.http.request import RequestGuard, body
from service.gateway.http.rooms import READS, Reads
from service.gateway.http.signin import SignIn
from service.gateway.session.registry import SessionRegistry
from service.observability.endpoint import metrics_route
from service.observability.exposition import Exposition
from service.protocol import http

STATIC = Path(__file__).parent.parent.parent / "static"
DEMO_LIFETIME = 3600.0
"""Seconds until a demo token expires."""
BANNER = (
    '<p class="demo" role="note">This is a demo: anyone who reaches this address can sign in under any name, also '
    "under yours, and read what is written here.</p>"
)


@dataclass(frozen=True, kw_only=True)
class Http:
    """The parts that serve the routes."""

    settings: Settings
    guard: RequestGuard
    reads: Reads
    audits: Audits
    actions: Actions
    signin: SignIn
    tokens: TokenVerifier
    exposition: Exposition
    probe: Probe
    readiness: Readiness
    relay: Relay
    sessions: SessionRegistry

    def routes(self) -> list[BaseRoute]:
        """Return the routes; the demo sign-in exists in development and in a demo only."""
        assets = Assets(STATIC, BANNER if self.settings.demo else "")
        served: list[BaseRoute] = [
            Route("/", assets.page),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/asyncapi.yaml", asyncapi),
            Route("/openapi.yaml", openapi),
            *routes(self.guard, READS, self.reads),
            *routes(self.guard, AUDITS, self.audits),
            *self.actions.routes(self.guard),
            *self.signin.routes(assets.page),
            assets.route(),
        ]
        if not self.settings.metrics_port:
            served.append(metrics_route(self.exposition, self.settings.metrics_token))
        if self.settings.dev or self.settings.demo:
            served.append(Route("/dev/token", self.demo_token, methods=["POST"]))
        return served

    async def demo_token(self, request: Request) -> Response:
        """`POST /dev/token`: a token for any user id."""
        try:
            if not self.settings.demo_names:
                raise DemoNamesOff
            wanted = await body(request, http.DemoSignIn)
        except OnRecordError as error:
            self.guard.refuse(request, error)
            raise
        return JSONResponse({"token": self.tokens.sign(wanted.user_id, wanted.name, DEMO_LIFETIME)})

    async def healthz(self, _request: Request) -> Response:
        """`GET /healthz`: the process responds."""
        return PlainTextResponse("ok")

    async def readyz(self, _request: Request) -> Response:
        """`GET /readyz`: 200 if commands can be recorded now, otherwise 503; the state of the bus is only reported.

        The state of the log may be some moments old: see `service.eventstore.readiness`.
        """
        if await self.probe.answers():
            log_state = "ok" if self.readiness.ready else "not fit to serve"
        else:
            log_state = "not fit to serve" if self.probe.read_only else "unreachable"
        ready = log_state == "ok"
        bus = "ok" if self.relay.heartbeat.receiving else "deaf"
        answer = http.Readiness(ready=ready, log=log_state, bus=bus, connections=len(self.sessions))
        return Response(msgspec.json.encode(answer), 200 if ready else 503, media_type="application/json")


async def asyncapi(_request: Request) -> Response:
    """`GET /asyncapi.yaml`: the contract of the real-time endpoints."""
    return await _document(documents.asyncapi_yaml)


async def openapi(_request: Request) -> Response:
    """`GET /openapi.yaml`: the contract of the HTTP endpoints."""
    return await _document(documents.openapi_yaml)


async def _document(make: Callable[[], str]) -> Response:
    # In a thread, since the first call would block the event loop for too long.
    text = await asyncio.to_thread(make)
    return Response(text, media_type=documents.MEDIA_TYPE, headers={"Cache-Control": "no-cache"})
