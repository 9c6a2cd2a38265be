"""WebSocket close codes (`docs/reference/errors.md`): why a connection ended, and whether a client reconnects."""

from enum import IntEnum


class Close(IntEnum):
    """4000-4499: reconnect (4001 with a new token, 4002 after its `nbf`). 4500-4999 and 1009: do not."""

    SHUTTING_DOWN = 4000
    TOKEN_EXPIRED = 4001
    TOKEN_NOT_YET_VALID = 4002
    TOO_SLOW = 4008
    TOO_MANY_REQUESTS = 4009
    NO_PONG = 4010
    FENCED = 4011
    TOKEN_INVALID = 4500
    MALFORMED = 4501
    PROTOCOL_VERSION = 4502
    SUSPENDED = 4503
    ERASED = 4504
    TOO_LARGE = 1009

    @property
    def come_back(self) -> bool:
        """Whether a client reconnects."""
        return 4000 <= self < 4500  # noqa: PLR2004 - the ranges are the definition


class Violation(Exception):
    """What a client sent violates the protocol: it is not answered, and the connection is closed with 4501."""


_PROTOCOL_ERRORS = frozenset({1002, 1003, 1007, 1008, 1010})
_LOST = 1006
"""The code of a connection that ended without a close frame (RFC 6455, section 7.4.1)."""


def reason_of(code: int | None, *, by_client: bool) -> str:
    """Return why a session ended, as the record and the log name it.

    `code` is the close code, None if the server gave up without one.
    """
    if by_client:
        return "client"
    if code == _LOST:
        return "connection_lost"
    if code in _PROTOCOL_ERRORS:
        return "malformed"
    try:
        return Close(code or 0).name.lower()
    except ValueError:
        return "server_error"
