"""Upgrades sessions from HTTP polling to a WebSocket: the probe, its time limit and the switch.

Invariant: a session is upgraded at most once, and continues with polls until the client sends `upgrade`.
"""

from starlette.websockets import WebSocket

from service.gateway.engineio.connection import Connection, frame
from service.gateway.transport.transport import WebSocketTransport
from service.gateway.websocket.frames import text_frame
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Kind, NotAPacket, Packet
from service.runtime.timeouts import Timeouts

_NORMAL = 1000  # RFC 6455, section 7.4.1


class Upgrades:
    """The upgrades in progress; each has `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        self._deadlines: Timeouts[WebSocketTransport] = Timeouts(
            timeout, lambda socket: socket.close(_NORMAL, "no upgrade in time")
        )

    async def run(self, connection: Connection, websocket: WebSocket, socket: WebSocketTransport) -> bool:
        """Upgrade a session to a WebSocket; return whether it continues there. If not, the WebSocket is closed."""
        if not _upgradable(connection):
            socket.close(_NORMAL, "this session has a socket")
            return False
        connection.probing = socket
        self._deadlines.begin(socket)
        try:
            while (packet := await receive(websocket)) is not None:
                if packet.kind is Kind.UPGRADE:
                    self._switch(connection)
                    return not socket.closing
                if packet.kind is not Kind.PING:
                    break
                connection.count()
                if connection.closing:
                    return False
                socket.write(text_frame(engineio.PROBED))
                connection.polling.answer(engineio.NOOP)  # lets the client end its poll
        finally:
            self._deadlines.end(socket)
            connection.probing = None
        socket.close(Close.MALFORMED, "no upgrade")
        return False

    def _switch(self, connection: Connection) -> None:
        """Continue over the WebSocket, beginning with packets that no poll has fetched."""
        socket, connection.probing = connection.probing, None
        if socket is None or connection.closing:
            return
        if connection.posting:
            socket.close(Close.MALFORMED, "a request is under way")
            connection.close(Close.MALFORMED, "a request is under way")
            return
        packets = connection.polling.hand_over()
        connection.attach(socket)
        if packets:
            connection.write(b"".join(map(frame, packets)))


def _upgradable(connection: Connection) -> bool:
    return connection.pollable and connection.probing is None and not connection.closing


async def receive(websocket: WebSocket) -> Packet | None:
    """Return the next packet; None if the WebSocket has ended or the message is no packet."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        return None
    text = message.get("text")
    try:
        return engineio.decode(message["bytes"] if text is None else text)
    except NotAPacket:
        return None
