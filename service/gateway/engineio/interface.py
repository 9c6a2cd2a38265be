"""The interface between Engine.IO sessions and the layer above."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

PACKET, FRAME = "socketio", "socketio-frame"
"""The wire formats: a packet as in a payload, and the WebSocket frame of a packet."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The limits of a session; times in seconds, sizes in bytes."""

    ping_interval: float
    ping_timeout: float
    max_payload: int
    max_packet: int
    max_outbox: int
    upgrade_timeout: float = 10.0
    first_payload: Callable[[bytearray], int] | None = None
    """The bytes that a payload may have before the session is identified, by its beginning; None: `max_payload`."""

    def payload_limit(self, body: bytearray, *, identified: bool) -> int:
        """Return the bytes that a payload with this beginning may have."""
        return self.max_payload if identified or self.first_payload is None else self.first_payload(body)


class Upper(Protocol):
    """The layer above a session."""

    async def take(self, message: str | bytes) -> None:
        """Handle a message; the next one is passed on when this returns."""

    def ended(self) -> None:
        """Handle the end of the session."""
