"""Builds HTTP responses from errors: RFC 9457 problem documents, and the headers that a status requires."""

import math

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import OnRecordError, TokenInvalid, TooManyRequests, Trouble, Unavailable
from service.gateway.transport.transport import Refused
from service.protocol.problems import plain_problem, problem_fields

REALM = 'Bearer realm="onrecord"'
MEDIA_TYPE = "application/problem+json"
TROUBLE_PAUSE = 1
"""Seconds in `Retry-After` for a failure of the server."""


class TokenMissing(TokenInvalid):
    """No token was sent: the challenge then names no error (RFC 6750, section 3)."""

    def __init__(self) -> None:
        super().__init__(problem="none was given")


def problem(_request: Request, error: Exception) -> Response:
    """Return the problem document of any exception; an unexpected one is a failure of the server."""
    if isinstance(error, HTTPException):
        fields, headers = plain_problem(error.status_code), dict(error.headers or {})
    else:
        known = error if isinstance(error, OnRecordError) else Unavailable()
        fields, headers = problem_fields(known), headers_of(known)
    return Response(
        msgspec.json.encode(fields),
        fields["status"],
        {"Cache-Control": "no-store", **headers},
        MEDIA_TYPE,
    )


def refusal(error: OnRecordError | HTTPException) -> Refused:
    """Return the problem document of an error as the response to an upgrade, with the detail of an `HTTPException`."""
    if isinstance(error, HTTPException):
        fields, headers = {**plain_problem(error.status_code), "detail": error.detail}, error.headers
    else:
        fields, headers = problem_fields(error), headers_of(error)
    all_headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **(headers or {})}
    return Refused(fields["status"], msgspec.json.encode(fields), all_headers)


def headers_of(error: OnRecordError) -> dict[str, str]:
    """Return the headers that an error's status requires."""
    if error.code in ("token_invalid", "token_expired"):
        challenge = "" if isinstance(error, TokenMissing) else ', error="invalid_token"'
        return {"WWW-Authenticate": REALM + challenge}
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(math.ceil(error.data["retryAfter"]))}  # type: ignore[call-overload] # a number
    if isinstance(error, Trouble):
        return {"Retry-After": str(TROUBLE_PAUSE)}
    return {}
