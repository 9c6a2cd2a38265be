"""Errors over HTTP: the status, and the RFC 9457 problem document with the error code of the socket."""

from http import HTTPStatus
from typing import Any

from service.errors import OnRecordError, Trouble
from service.protocol.native import error_fields

STATUS: dict[str, int] = {
    "malformed": 400,
    "unknown_type": 400,
    "ref_required": 400,
    "not_connected": 400,
    "token_invalid": 401,
    "token_expired": 401,
    "token_not_yet_valid": 401,
    "not_a_member": 403,
    "not_allowed": 403,
    "muted": 403,
    "banned": 403,
    "room_not_found": 404,
    "message_not_found": 404,
    "user_not_found": 404,
    "report_not_found": 404,
    "ref_conflict": 409,
    "room_exists": 409,
    "room_archived": 409,
    "last_owner": 409,
    "too_many_rooms": 409,
    "message_deleted": 410,
    "message_too_long": 422,
    "empty_message": 422,
    "unsafe_content": 422,
    "too_many_requests": 429,
    "overloaded": 503,
    "unavailable": 503,
    "projection_behind": 503,
}
"""The status of every error code of the contract, including codes that no HTTP request returns yet."""


def status_of(error: OnRecordError | type[OnRecordError]) -> int:
    """Return an error's status."""
    trouble = issubclass(error if isinstance(error, type) else type(error), Trouble)
    return STATUS.get(error.code, 503 if trouble else 400)


def problem_fields(error: OnRecordError) -> dict[str, Any]:
    """Return an error's problem document: `title` is the name of the status, `detail` the error's sentence."""
    fields = error_fields(error)
    return {**plain_problem(status_of(error)), "detail": fields.pop("message"), **fields}


_OF_STATUS = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address takes other methods, which the header Allow names."),
    413: ("body_too_large", "The body of the request is too large."),
    426: ("upgrade_required", "This address is for WebSockets; connect with a WebSocket client."),
}
"""The codes of requests that no operation answers: these exist over HTTP only."""


def status_problem(status: int) -> dict[str, Any]:
    """Return the problem document of a request that no operation answers, by its status."""
    if status not in _OF_STATUS:
        return plain_problem(status)
    code, detail = _OF_STATUS[status]
    return {**plain_problem(status), "detail": detail, "code": code, "retryable": False}


def plain_problem(status: int) -> dict[str, Any]:
    """Return the problem document of a status without further detail."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
