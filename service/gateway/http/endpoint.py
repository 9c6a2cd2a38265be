"""A read over HTTP, and the endpoint that serves it: the same for every table of reads.

The rule: whoever asks is known, granted the read's scope and within their rate before anything is looked up, and an
answer is never kept by a cache.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from service.errors import Malformed, NotAllowed, Unavailable
from service.gateway.auth.origins import allowed_origin
from service.gateway.auth.tokens import CHAT
from service.gateway.http.authenticate import authenticate
from service.gateway.services import Services
from service.protocol import commands
from service.protocol.strict_json import shown

METHODS = ("GET", "HEAD", "OPTIONS")
NO_STORE = {"Cache-Control": "no-store"}
JSON, NDJSON = "application/json", "application/x-ndjson"

_where = re.compile(r" - at '\$\.(\w+)")

Q = TypeVar("Q", bound=msgspec.Struct)
Pieces = AsyncIterator[bytes]
"""An answer that is sent while it is being read."""


class BadParameter(Malformed):
    """`data`: `problem`, and `parameter`, which of them is wrong."""

    shown = ("parameter",)


class Caller(msgspec.Struct, frozen=True):
    """Who asks over HTTP, and until when their token holds."""

    user: str
    expires_at: datetime


class Read(msgspec.Struct, frozen=True):
    """A read: the parameters that `query` describes in, the payload that `answer` describes out.

    `ask` is a method of whatever serves the table that the read stands in. `refusals` are the codes of the errors that
    are its own, of those that this version knows. Of NDJSON `answer` is one line.
    """

    path: str
    query: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    ask: Callable[[Any, Caller, Any], Awaitable[msgspec.Struct | Pieces]]
    refusals: tuple[str, ...] = ()
    scope: str = CHAT
    media: str = JSON


def routes(services: Services, table: Iterable[Read], owner: object) -> list[Route]:
    """Return a route for each read of a table; `owner` is what answers them."""
    return [
        Route(read.path, _endpoint(services, read, owner), methods=METHODS, name=read.path) for read in table
    ]


def _endpoint(services: Services, read: Read, owner: object) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
        if not allowed_origin(request.headers, services.settings.origins):
            raise NotAllowed(problem="Pages of this origin may not read here.")
        if not services.readiness.ready:
            raise Unavailable
        identity = await authenticate(services, request, read.scope)
        services.rate.take(identity.user)
        asker = Caller(identity.user, identity.expires_at)
        answer = await read.ask(owner, asker, parameters(request, read.query))
        if isinstance(answer, msgspec.Struct):
            return Response(msgspec.json.encode(answer), media_type=read.media, headers=NO_STORE)
        if request.method == "HEAD":
            return Response(media_type=read.media, headers=NO_STORE)
        return StreamingResponse(answer, media_type=read.media, headers=NO_STORE)

    return serve


def parameter_names(query: type[msgspec.Struct]) -> list[str]:
    """Return the names that a request may give; what makes a command a frame is no parameter."""
    of_a_frame = ("type", "ref") if issubclass(query, commands.Frame) else ()
    return [name for name in query.__struct_encode_fields__ if name not in of_a_frame]


def parameters(request: Request, query: type[Q]) -> Q:
    """Return what a request asks for.

    Raises:
        BadParameter: a parameter is unknown, came twice, or has a value that it cannot have.
    """
    given: dict[str, str] = dict(request.path_params)
    for name, value in request.query_params.multi_items():
        if name in given or name not in parameter_names(query):
            problem = "came twice" if name in given else "is not known here"
            named = shown(name)
            raise BadParameter(problem=f"The parameter {named} {problem}.", parameter=named)
        given[name] = value
    kind = {"type": query.TYPE} if issubclass(query, commands.Frame) else {}
    try:
        return msgspec.convert({**given, **kind}, query, strict=False)
    except msgspec.ValidationError as error:
        problem = shown(str(error).replace("`", "'"))
        found = _where.search(problem)
        raise BadParameter(problem=problem, parameter=found[1] if found else "") from error
