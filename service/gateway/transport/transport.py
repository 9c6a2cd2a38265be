"""The interfaces of a WebSocket connection and of its server; `service.gateway.websocket` implements them.

Invariant: no sender waits for a slow peer. A write is sent at once or buffered; above the buffer's limit the connection
ends, once, with a close code.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from starlette.datastructures import Headers

from service.gateway.transport.receive_budget import Account

BEGAN = "onrecord.began"
"""The ASGI extension with the `time` of the event loop at which the first byte of a request was received."""

CATCHUP_ALLOWANCE = 256 * 1024
"""Unsent bytes allowed beyond the write buffer's limit during a catch-up, so that its pacing never closes it."""

ABNORMAL = 1006
"""The code of a connection that was lost without a close frame (RFC 6455, section 7.4.1)."""


class Ending(NamedTuple):
    """How a connection ended: its close code (RFC 6455, section 7.4), and whether the client closed first."""

    code: int
    by_client: bool


class Transport(Protocol):
    """A connection, as its sessions use it."""

    catchup: int
    """Catch-ups in progress; while there are any, `CATCHUP_ALLOWANCE` is added to the write buffer's limit."""

    ending: Ending | None
    """Set once, when either side begins to close or the connection is lost."""

    on_ending: Callable[[], None]
    """Called when `ending` is set, inside the call that ends the connection; no later write reaches the peer."""

    @property
    def descriptor(self) -> int:
        """The socket's descriptor, for direct writes while `DirectSockets` allows them, or `NOWHERE`."""

    def write(self, frame: bytes) -> None:
        """Send one or several complete, unmasked frames at once; does nothing once the connection is closing.

        If more than `max_outbox` bytes are unsent afterwards, the connection closes with 4008.

        Raises:
            RuntimeError: The handshake is not complete.
        """

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake (RFC 6455, section 7.1.2), which has a time limit; a second call does nothing.

        Raises:
            RuntimeError: The handshake is not complete.
            ValueError: The code or reason cannot be sent.
        """

    @property
    def closing(self) -> bool:
        """Whether either side has begun to close, or the connection is lost."""

    async def drained(self) -> None:
        """Return when at most 128 KiB are unsent, or when the connection is closing."""

    def hold(self) -> None:
        """Stop reading the socket until the connection closes; messages that were read are still handled."""

    @property
    def idle(self) -> bool:
        """Whether the application has handled all messages that were received."""

    @property
    def outbox(self) -> int:
        """The number of unsent bytes."""


class Upgrade(NamedTuple):
    """A request to upgrade a connection to a WebSocket."""

    headers: Headers
    address: str | None
    """The peer's address."""

    path: str = "/"
    method: str = "GET"
    http_version: str = "1.1"
    began: float | None = None
    """The loop's time at the first byte of the request."""

    query: bytes = b""


class Refused(NamedTuple):
    """The HTTP response that refuses an upgrade or an Engine.IO request."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Conversation(Protocol):
    """Handles the messages of one WebSocket. Calls do not overlap."""

    def take_now(self, message: str | bytes) -> bool:
        """Handle a message within this call, if that is possible; return whether it was, and do nothing if not.

        Called only while no earlier message is being handled.
        """

    async def take(self, message: str | bytes) -> None:
        """Handle a message, of text or of bytes."""

    async def ended(self) -> None:
        """Handle the end of the connection; called once, after the last message."""


class WebSocketTransport(Transport, Protocol):
    """A WebSocket, as the endpoint that answers its upgrade uses it."""

    account: Account
    """Counts what the client has sent, until it is identified."""

    reason: str
    """The reason in the close frame of the side that closed first; empty if there is none."""

    def accept(self, begin: Callable[[], Conversation], headers: Sequence[tuple[str, str]] = ()) -> bool:
        """Accept the upgrade, with `headers` in the response; return whether the peer is still connected.

        `begin` is called at once, before any message is read.
        """

    def refuse(self, answer: Refused) -> None:
        """Refuse the upgrade, and close; does nothing if the connection is closing."""

    def stop_keepalive(self) -> None:
        """Send no WebSocket pings; for endpoints whose protocol has heartbeats."""

    async def send(self, frame: bytes) -> bool:
        """Send a frame once the peer has taken most of the buffered bytes; return whether it was sent."""


class Endpoint(Protocol):
    """Serves the WebSockets of a path."""

    def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> Coroutine[Any, Any, None] | None:
        """Accept or refuse an upgrade, or return the coroutine that does; it may last as long as the connection."""
