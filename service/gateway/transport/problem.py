"""Builds HTTP responses from errors: RFC 9457 problem documents, and the headers that a status requires."""

import math
from collections.abc import Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from service.errors import OnRecordError, TokenInvalid, Trouble, Unavailable
from service.gateway.transport.transport import Refused
from service.protocol.problems import problem_fields, status_problem

REALM = 'Bearer realm="onrecord"'
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 1
"""Seconds in `Retry-After` after a failure of the server."""


class TokenMissing(TokenInvalid):
    """No token was sent; the challenge names no error in this case (RFC 6750, section 3).

    `data`: `problem`, which says what the header `Authorization` has instead, if there is one.
    """

    def __init__(
        self, problem: str = "none was given; send it in the header Authorization: Bearer TOKEN"
    ) -> None:
        super().__init__(problem=problem, logged=problem.split(";", maxsplit=1)[0])


def application(routes: Sequence[BaseRoute], middleware: Sequence[Middleware] = ()) -> Starlette:
    """Return an ASGI application that answers errors with problem documents, and unknown paths with 404.

    Starlette would redirect a path with one slash too many to an address made of the request's `Host`.
    """
    handlers = {OnRecordError: problem, HTTPException: problem, Exception: problem}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def problem(_request: Request, error: Exception) -> Response:
    """Return the response to an exception; one that is not an error of this service is answered as `unavailable`."""
    if isinstance(error, HTTPException):
        fields, headers = status_problem(error.status_code), dict(error.headers or {})
    else:
        known = error if isinstance(error, OnRecordError) else Unavailable()
        fields, headers = problem_fields(known), headers_of(known)
    headers = {"Cache-Control": "no-store", **headers}
    return Response(msgspec.json.encode(fields), fields["status"], headers, MEDIA_TYPE)


def refusal(error: OnRecordError | HTTPException) -> Refused:
    """Return the response that refuses an upgrade because of an error; it includes the detail of an `HTTPException`."""
    if isinstance(error, HTTPException):
        fields, headers = {**status_problem(error.status_code), "detail": error.detail}, error.headers
    else:
        fields, headers = problem_fields(error), headers_of(error)
    all_headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **(headers or {})}
    return Refused(fields["status"], msgspec.json.encode(fields), all_headers)


def headers_of(error: OnRecordError) -> dict[str, str]:
    """Return the headers that an error's status requires."""
    headers: dict[str, str] = {}
    if error.code in ("token_invalid", "token_expired", "token_not_yet_valid"):
        challenge = "" if isinstance(error, TokenMissing) else ', error="invalid_token"'
        headers["WWW-Authenticate"] = REALM + challenge
    if "retryAfter" in error.shown:
        headers["Retry-After"] = str(math.ceil(error.data["retryAfter"]))  # type: ignore[call-overload] # a number
    if isinstance(error, Trouble):
        headers["Retry-After"] = str(RETRY_AFTER)
    return headers
