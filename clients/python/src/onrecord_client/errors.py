"""The error that the client raises, and the codes that the client itself adds to those of the server."""

from collections.abc import Mapping
from typing import Any

CLOSED = "closed"
"""The client was closed first. A message stays stored and is sent by the next client with the same storage."""

OUTBOX_FULL = "outbox_full"
"""Too many commands wait to be sent already; this one was not accepted."""

OUTBOX_EXPIRED = "outbox_expired"
"""The message was stored for longer than the server remembers refs, so sending it might repeat it."""

SESSION_REFUSED = "session_refused"
"""The server closed the connection with a code that forbids to come back, or refused to open one."""

TOKEN_UNAVAILABLE = "token_unavailable"  # noqa: S105 - a code
"""The application's function gave no token."""

BAD_ANSWER = "bad_answer"
"""The server's answer is not what the protocol describes."""


class OnRecordError(Exception):
    """A command was refused, or can have no answer.

    `code` is one of the server's error codes or of this module's. `retryable` says whether the same call may succeed
    later; `retry_after` is the number of seconds after which, where the server gave one.
    """

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"OnRecordError({self.code!r}, {self.message!r}, retryable={self.retryable})"

    @classmethod
    def of(cls, frame: Mapping[str, Any]) -> "OnRecordError":
        """Return the error of an `error` frame."""
        after = frame.get("retryAfter")
        return cls(
            str(frame.get("code", BAD_ANSWER)),
            str(frame.get("message", "The server refused the command.")),
            retryable=frame.get("retryable") is True,
            retry_after=float(after) if isinstance(after, int | float) else None,
        )
