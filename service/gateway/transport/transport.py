"""The interfaces of a WebSocket connection and of its server; `service.gateway.websocket` implements them.

Invariant: no sender waits for a slow peer. A write goes out at once, or is buffered within a limit; above it the
connection ends, once, with a code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from starlette.datastructures import Headers

EXTENSION = "onrecord.transport"

CATCHUP_ALLOWANCE = 256 * 1024
"""Bytes that a catch-up may have in flight, beyond the write buffer's limit: pacing is never mistaken for slowness."""

ABNORMAL = 1006
"""The code of a connection that was lost without a close frame (RFC 6455, section 7.4.1)."""


class Ending(NamedTuple):
    """How a connection ended: its close code (RFC 6455, section 7.4), and whether the client closed first."""

    code: int
    by_client: bool


class Transport(Protocol):
    """The interface of a connection to its sessions."""

    catchup: int
    """Catch-ups in progress; while there are any, `CATCHUP_ALLOWANCE` is added to the write buffer's limit."""

    ending: Ending | None
    """Set once, when either side begins to close or the connection is lost."""

    on_ending: Callable[[], None]
    """Called at that moment, inside the call that caused it: no later write reaches the peer."""

    @property
    def descriptor(self) -> int:
        """The socket's descriptor, for direct writes while `DirectSockets` allows them, or `NOWHERE`."""

    def write(self, frame: bytes) -> None:
        """Send one or several complete, unmasked frames now; nothing once the connection is closing.

        If the kernel leaves more bytes than the outbox may hold, the connection closes with 4008.

        Raises:
            RuntimeError: The handshake is not complete.
        """

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake (RFC 6455, section 7.1.2), once; the peer has a short time to answer.

        Raises:
            RuntimeError: The handshake is not complete.
            ValueError: The code or reason cannot be sent.
        """

    @property
    def closing(self) -> bool:
        """Whether either side has begun to close, or the connection is lost."""

    async def drained(self) -> None:
        """Return when at most 128 KiB wait for the kernel, or when the connection is closing."""

    def hold(self) -> None:
        """Stop reading the socket until the connection closes; messages that were read already are still passed on."""

    @property
    def taken(self) -> bool:
        """Whether the application has taken all messages, and waits for more."""

    @property
    def outbox(self) -> int:
        """Bytes that wait for the peer."""


class Upgrade(NamedTuple):
    """A request to become a WebSocket."""

    headers: Headers
    address: str | None
    """The peer's address."""

    path: str = "/"
    method: str = "GET"
    http_version: str = "1.1"


class Refused(NamedTuple):
    """A refused upgrade: its HTTP response; `problem.refusal` builds it in the form of all others."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Conversation(Protocol):
    """The messages of one WebSocket. The calls come one after the other, each in a task that ends with it."""

    async def take(self, message: str | bytes) -> None:
        """Handle a message, of text or of bytes."""

    async def ended(self) -> None:
        """Handle, once, the end of the connection, after the last message."""


class WebSocketTransport(Transport, Protocol):
    """A WebSocket as the endpoint that answers its upgrade uses it, for a protocol of its own."""

    reason: str
    """The recorded ending."""

    def accept(self, begin: Callable[[], Conversation], headers: Sequence[tuple[str, str]] = ()) -> bool:
        """Accept the upgrade, with `headers` in the response; return whether the peer is still there.

        The conversation begins at once, before any message is read.
        """

    def refuse(self, answer: Refused) -> None:
        """Refuse the upgrade, and close; does nothing if the connection is closing."""

    def stop_keepalive(self) -> None:
        """Send no pings, since the endpoint's protocol has heartbeats."""

    async def send(self, frame: bytes) -> bool:
        """Send a frame once the peer has taken most of the buffered bytes; return whether it was sent."""


class Endpoint(Protocol):
    """Serves the WebSockets of a path."""

    async def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> None:
        """Accept or refuse an upgrade. This may last as long as the connection, or end with the answer."""
