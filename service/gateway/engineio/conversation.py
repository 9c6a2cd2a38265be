"""The packets of one WebSocket, for the session that it opened or upgrades."""

from service.gateway.engineio.connection import Connection
from service.gateway.engineio.upgrade import Upgrades
from service.gateway.transport.transport import WebSocketTransport
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import NotAPacket, Packet


class SocketConversation:
    """See `Conversation`. With `upgrades` the session continues with polls until its upgrade is complete."""

    def __init__(self, connection: Connection, socket: WebSocketTransport, upgrades: Upgrades | None) -> None:
        self._connection = connection
        self._socket = socket
        self._upgrades = upgrades

    def take_now(self, _message: str | bytes) -> bool:
        """Leave every packet to `take`."""
        return False

    async def take(self, message: str | bytes) -> None:
        """Handle a packet."""
        packet = _packet(message)
        if self._upgrades is not None:
            if self._upgrades.take(self._connection, self._socket, packet):
                self._upgrades = None
        elif packet is None:
            self._connection.close(Close.MALFORMED, "no packet")
        elif not self._connection.closing:
            await self._connection.take(packet)

    async def ended(self) -> None:
        """End an upgrade in progress; the session has its ending from the transport."""
        if self._upgrades is not None:
            self._upgrades.end(self._connection, self._socket)


def _packet(message: str | bytes) -> Packet | None:
    try:
        return engineio.decode(message)
    except NotAPacket:
        return None
