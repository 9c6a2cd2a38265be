"""The refusals of Engine.IO requests, worded as in the reference implementation."""

from starlette.responses import Response

from service.gateway.transport.transport import Refused
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Problem


def refused(problem: Problem) -> Refused:
    """Return the refusal for a problem."""
    return Refused(problem.status, engineio.problem_body(problem))


def refusal(why: Refused) -> Response:
    """Return the response to a refused request."""
    return Response(why.body, why.status, {"Cache-Control": "no-store", **why.headers}, "application/json")
