"""One WebSocket connection, as the rest of the server sees it, and what serves it; the class behind is `websocket`.

The rule: nobody waits for a slow peer. What is written goes out at once, or waits within a bound; above it the
connection ends, once, with a code that its end is told by.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from starlette.datastructures import Headers

EXTENSION = "onrecord.transport"

CATCHUP_ALLOWANCE = 256 * 1024
"""Bytes that catching up may have under way, on top of the outbox: being paced never counts as being slow."""

ABNORMAL = 1006
"""Stands for a connection that was lost without a word (RFC 6455, section 7.4.1)."""


class Ending(NamedTuple):
    """How a connection ended: its close code (RFC 6455, section 7.4), and whether the client said goodbye first."""

    code: int
    by_client: bool


class Transport(Protocol):
    """What a connection offers to the sessions above it."""

    catchup: int
    """Catch-ups in progress; while there are any, `CATCHUP_ALLOWANCE` is added to the outbox's bound."""

    ending: Ending | None
    """Set once, when either side begins to close or the connection is lost."""

    on_ending: Callable[[], None]
    """Called at that very moment, inside whatever call it happened in: nothing written later reaches the peer."""

    @property
    def descriptor(self) -> int:
        """The socket's, where frames may be written straight to it as long as `DirectSockets` says so, or `NOWHERE`."""

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
        """Read no more of the socket until the connection closes; what was read already is still passed on."""

    @property
    def taken(self) -> bool:
        """Whether the application has taken all that was read, and waits for more."""

    @property
    def outbox(self) -> int:
        """Bytes that wait for the peer."""


class Upgrade(NamedTuple):
    """A request to become a WebSocket."""

    headers: Headers
    address: str | None
    """Of the peer."""

    path: str = "/"
    method: str = "GET"
    http_version: str = "1.1"


class Refused(NamedTuple):
    """Why an upgrade is refused: the HTTP response, of which `problem.refusal` makes one like all others."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Conversation(Protocol):
    """What is said over one WebSocket. The calls come one after the other, each in a task that lasts no longer."""

    async def take(self, message: str | bytes) -> None:
        """Take a message, of text or of bytes."""

    async def ended(self) -> None:
        """Hear that the connection has ended, once, after the last message."""


class WebSocketTransport(Transport, Protocol):
    """The same of a WebSocket, for who answers its upgrade, and speaks a protocol of its own over it."""

    reason: str
    """What was said of the ending."""

    def accept(self, begin: Callable[[], Conversation], headers: Sequence[tuple[str, str]] = ()) -> bool:
        """Grant the upgrade, with `headers` in the response; return whether there is still a peer.

        The conversation begins at once, before anything is read.
        """

    def refuse(self, answer: Refused) -> None:
        """Refuse it, and close; nothing where the connection is closing."""

    def stop_keepalive(self) -> None:
        """Send no pings, since that protocol has heartbeats."""

    async def send(self, frame: bytes) -> bool:
        """Send a frame once the peer has taken most of what waits, however long that is; return whether it could be."""


class Endpoint(Protocol):
    """Serves the WebSockets of a path."""

    async def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> None:
        """Accept or refuse an upgrade. This may last as long as the connection, or end with the answer."""
