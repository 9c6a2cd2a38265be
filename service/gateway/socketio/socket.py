"""A client in one namespace; several may share a connection."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from service.gateway.engineio import Connection
from service.gateway.transport.callbacks import nothing
from service.gateway.transport.transport import Ending
from service.protocol.socketio import packets
from service.protocol.socketio.engineio import binary_message, message
from service.protocol.socketio.packets import Kind
from service.runtime.direct_sockets import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable


class Socket:
    """A client in a namespace: a `Transport` that may end before its connection does."""

    descriptor = NOWHERE  # no direct writes: a packet may have to wait for a poll

    def __init__(self, connection: Connection, namespace: str, *, again: bool = False) -> None:
        self.again = again
        """Whether the connection has sent a CONNECT before: this one then counts as a handshake of its own."""
        self.id = str(uuid4())
        self.connection = connection
        self.namespace = namespace
        self.admitted = False
        self.received = 0
        """Bytes of the packet that is being handled, with its attachments."""
        self.ending: Ending | None = None
        self.on_ending: Callable[[], None] = nothing

    def accept(self, pid: str | None = None) -> None:
        """Send the CONNECT packet of the server; `pid` identifies the state that the client may recover."""
        self.send_packet(Kind.CONNECT, {"sid": self.id, **({"pid": pid} if pid else {})})

    def send_packet(self, kind: Kind, data: Any, ack_id: int | None = None) -> None:
        """Send a packet with its attachments."""
        text, attachments = packets.encode(kind, self.namespace, data, ack_id)
        self.send(message(text))
        for attachment in attachments:
            self.send(binary_message(attachment))

    def send(self, packet: bytes) -> None:
        """Send an Engine.IO packet."""
        if self.ending is None:
            self.connection.send(packet)

    # See `Transport`.

    @property
    def wire_format(self) -> str:
        """The wire format that `write` takes now."""
        return self.connection.wire_format

    @property
    def catchup(self) -> int:
        """Catch-ups in progress."""
        return self.connection.catchup

    @catchup.setter
    def catchup(self, count: int) -> None:
        self.connection.catchup = count

    @property
    def closing(self) -> bool:
        """Whether the client has left, or its connection has ended."""
        return self.ending is not None

    def write(self, data: bytes) -> None:
        """Send a frame that is encoded for `wire_format`."""
        if self.ending is None:
            self.connection.write(data)

    def close(self, code: int, reason: str = "") -> None:
        """End the whole connection: after a DISCONNECT alone, stock clients never reconnect."""
        if self.ending is None:
            self.connection.close(code, reason)

    async def drained(self) -> None:
        """See `Transport.drained`."""
        await self.connection.drained()

    def hold(self) -> None:
        """Stop reading the connection."""
        self.connection.hold()

    @property
    def idle(self) -> bool:
        """See `Transport.idle`."""
        return self.connection.idle

    @property
    def outbox(self) -> int:
        """Bytes that wait for the connection's client."""
        return self.connection.outbox

    def end(self, ending: Ending) -> None:
        """Set the ending: the client has left, or its connection has ended."""
        self.ending = ending
        self.on_ending()
        self.on_ending = nothing  # a reference cycle otherwise
