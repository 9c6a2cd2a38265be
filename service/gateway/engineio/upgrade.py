"""Upgrades sessions from HTTP polling to a WebSocket: the probe, its time limit and the switch.

Invariant: a session is upgraded at most once, and continues with polls until the client sends `upgrade`.
"""

from service.gateway.engineio.connection import Connection, frame
from service.gateway.transport.transport import WebSocketTransport
from service.gateway.websocket.frames import text_frame
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Kind, Packet
from service.runtime.timeouts import Timeouts

_NORMAL = 1000  # RFC 6455, section 7.4.1


class Upgrades:
    """The upgrades in progress; each has `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        self._deadlines: Timeouts[WebSocketTransport] = Timeouts(
            timeout, lambda socket: socket.close(_NORMAL, "no upgrade in time")
        )

    def begin(self, connection: Connection, socket: WebSocketTransport) -> None:
        """Begin to upgrade a session to a WebSocket, which is closed if the session cannot be upgraded."""
        if connection.pollable and connection.probing is None and not connection.closing:
            connection.probing = socket
            self._deadlines.begin(socket)
        else:
            socket.close(_NORMAL, "this session has a socket")

    def take(self, connection: Connection, socket: WebSocketTransport, packet: Packet | None) -> bool:
        """Handle a packet of the WebSocket, None if it was not one; return whether the session continues there."""
        if connection.probing is not socket or socket.closing:
            return False
        if packet is None or packet.kind not in (Kind.PING, Kind.UPGRADE):
            socket.close(Close.MALFORMED, "no upgrade")
        elif packet.kind is Kind.UPGRADE:
            self.end(connection, socket)
            return _switch(connection, socket)
        else:
            connection.count()
            if not connection.closing:
                socket.write(text_frame(engineio.PROBED))
                connection.polling.answer(engineio.NOOP)  # lets the client end its poll
        return False

    def end(self, connection: Connection, socket: WebSocketTransport) -> None:
        """End an upgrade; does nothing if the WebSocket has none in progress."""
        if connection.probing is socket:
            connection.probing = None
            self._deadlines.end(socket)


def _switch(connection: Connection, socket: WebSocketTransport) -> bool:
    """Continue over the WebSocket, beginning with packets that no poll has fetched; return whether it is open."""
    if connection.closing:
        return False
    if connection.posting:
        socket.close(Close.MALFORMED, "a request is under way")
        connection.close(Close.MALFORMED, "a request is under way")
        return False
    packets = connection.polling.hand_over()
    connection.attach(socket)
    if packets:
        connection.write(b"".join(map(frame, packets)))
    return not socket.closing
