"""The refusals of Engine.IO requests, worded as in the reference implementation."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.responses import Response

from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Problem


class Refused(NamedTuple):
    """Why a request is refused."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


def refused(problem: Problem) -> Refused:
    """Return a refusal as the reference words it."""
    return Refused(problem.status, engineio.problem_body(problem))


def refusal(why: Refused) -> Response:
    """Return the response to a refused request."""
    return Response(why.body, why.status, {"Cache-Control": "no-store", **why.headers}, "application/json")
