"""What Engine.IO sessions have in common with those who build on them."""

from dataclasses import dataclass
from typing import Protocol

PACKET, FRAME = "socketio", "socketio-frame"
"""The wire formats: a packet as it stands in a payload, and the WebSocket frame of one."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a session may cost; times in seconds, sizes in bytes."""

    ping_interval: float
    ping_timeout: float
    max_payload: int
    max_packet: int
    max_outbox: int
    upgrade_timeout: float = 10.0


class Upper(Protocol):
    """What is built on a session."""

    async def take(self, message: str | bytes) -> None:
        """Take a message; the next comes when this returns."""

    def ended(self) -> None:
        """Hear that the session is over."""
