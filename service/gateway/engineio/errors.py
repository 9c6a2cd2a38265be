"""The refusals of Engine.IO requests, worded as in the reference implementation."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.responses import Response

from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Problem


class Refused(NamedTuple):
    """The status, body and headers that refuse a request."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


def refused(problem: Problem) -> Refused:
    """Return the refusal for a problem."""
    return Refused(problem.status, engineio.problem_body(problem))


def refusal(why: Refused) -> Response:
    """Return the response to a refused request."""
    return Response(why.body, why.status, {"Cache-Control": "no-store", **why.headers}, "application/json")
