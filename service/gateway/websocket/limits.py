"""The limits of one WebSocket connection."""

from dataclasses import dataclass

from service.runtime.cell_rate import CONTROLS, Pace


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds. The size of a message is uvicorn's `ws_max_size`."""

    max_outbox: int = 1024 * 1024
    """Unsent bytes above which the connection closes with 4008."""

    ping_interval: float = 25.0
    """Seconds from one answered ping to the next."""

    ping_timeout: float = 20.0
    """Seconds without a pong after which the connection closes with 4010."""

    close_timeout: float = 2.0
    """Seconds that the peer has to answer a close frame; then the connection is aborted."""

    max_fragments: int = 1024
    """Frames of one message; one more closes the connection with 1009."""

    frame_seconds: float = 8.0
    """Seconds within which a frame has to arrive, from its first byte on; then the connection closes with 4008."""

    controls: Pace = CONTROLS
    """The rate of pings, and of pongs that answer no ping, above which the connection closes with 4009."""
