"""The WebSocket close codes of `docs/protocol.md`: what happened, and whether a client should come back."""

from enum import IntEnum


class Close(IntEnum):
    """4000-4499: come back (4001 with a new token). 4500-4999 and 1009: do not."""

    SHUTTING_DOWN = 4000
    TOKEN_EXPIRED = 4001
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
        """Whether a client should reconnect."""
        return 4000 <= self < 4500  # noqa: PLR2004 - the ranges are the definition
