"""The reads of a table as HTTP endpoints. No answer may be cached."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from service.gateway.auth.claims import CHAT
from service.gateway.auth.prices import EXPORT, REPLAY, price_of_answer, price_of_command
from service.gateway.http.request import RequestGuard, parameters

METHODS = ("GET", "HEAD", "OPTIONS")
NO_STORE = {"Cache-Control": "no-store"}
JSON, NDJSON = "application/json", "application/x-ndjson"

Chunks = AsyncIterator[bytes]
"""An answer that is sent while it is being read."""


class Caller(msgspec.Struct, frozen=True):
    """The user of a request, and when their token expires."""

    user: str
    expires_at: datetime


class Read(msgspec.Struct, frozen=True):
    """A read: the struct of its parameters (`query`) and of its payload (`answer`; for NDJSON, of one line).

    `ask` is a method of the class that serves the table. `refusals` are the codes of the errors that only this read
    has; codes that this version does not know are ignored.
    """

    path: str
    query: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    ask: Callable[[Any, Caller, Any], Awaitable[msgspec.Struct | Chunks]]
    refusals: tuple[str, ...] = ()
    scope: str = CHAT
    media: str = JSON


def routes(guard: RequestGuard, table: Iterable[Read], owner: object) -> list[Route]:
    """Return a route for each read of a table; `owner` has the methods."""
    return [
        Route(route_path(read.path), _endpoint(guard, read, owner), methods=METHODS, name=read.path)
        for read in table
    ]


def route_path(path: str) -> str:
    """Return a documented path for the router, which matches decoded paths: a user id may contain slashes."""
    return path.replace("{userId}", "{userId:path}")


def _endpoint(guard: RequestGuard, read: Read, owner: object) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
        identity = await guard.admit(request, read.scope, action="read")
        caller = Caller(identity.user, identity.expires_at)
        query = parameters(request, read.query)
        guard.charge(request, identity.user, price_of_command(query) if read.scope == CHAT else REPLAY - 1)
        answer = await read.ask(owner, caller, query)
        if isinstance(answer, msgspec.Struct):
            guard.charges.owe(identity.user, price_of_answer(query, answer))
            return Response(msgspec.json.encode(answer), media_type=read.media, headers=NO_STORE)
        if read.scope == CHAT:
            guard.charges.owe(identity.user, EXPORT)
        if request.method == "HEAD":
            return Response(media_type=read.media, headers=NO_STORE)
        return StreamingResponse(answer, media_type=read.media, headers=NO_STORE)

    return serve
