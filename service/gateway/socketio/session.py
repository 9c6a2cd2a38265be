"""A chat session at the Socket.IO endpoint."""

from service.errors import OnRecordError
from service.gateway.auth.tokens import Identity
from service.gateway.session.session import Session
from service.gateway.socketio.socket import Socket
from service.protocol.acks import Ack
from service.protocol.events import Connected, Outgoing
from service.protocol.socketio.emits import ack_packet, event_packet, refusal_packet
from service.realtime.hub import Hub

SOCKETIO = "socketio"


class SocketSession(Session):
    """A client in the main namespace; a `tag` is the number of the ack that it expects."""

    door = SOCKETIO

    def __init__(self, socket: Socket, hub: Hub, identity: Identity, max_rooms: int) -> None:
        super().__init__(socket, hub, identity, max_rooms)
        self._socket = socket

    @property
    def wire_format(self) -> str:
        """See `Subscriber`; an upgrade changes it."""
        return self._socket.wire_format

    def welcome(self, connected: Connected) -> None:
        """Answer the CONNECT, then send `connected`."""
        self._socket.accept()
        self.emit(connected)

    def emit(self, outgoing: Outgoing) -> None:
        """See `Session.emit`."""
        self._socket.send(event_packet(outgoing))

    def ack(self, tag: str | None, ack: Ack) -> None:
        """Acknowledge a command, if the client expects an ack."""
        if tag is not None:
            self._socket.send(ack_packet(tag, ack))

    def refuse(self, tag: str | None, error: OnRecordError) -> None:
        """Refuse a command; if the client expects no ack, an `error` event carries the refusal."""
        self._socket.send(refusal_packet(tag, error))
