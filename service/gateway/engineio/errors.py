"""The refusals of Engine.IO requests, worded as in the reference implementation."""

from starlette.responses import Response

from service.gateway.transport.transport import Refused
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Problem


def refused(problem: Problem) -> Refused:
    """Return the refusal for a problem."""
    return Refused(problem.status, engineio.problem_body(problem))


def headers_of(why: Refused) -> dict[str, str]:
    """Return the headers of the response to a refused request."""
    return {"Cache-Control": "no-store", "Content-Type": "application/json", **why.headers}


def refusal(why: Refused) -> Response:
    """Return the response to a refused request."""
    return Response(why.body, why.status, headers_of(why))
