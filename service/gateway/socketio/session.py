"""The chat sessions of the Socket.IO endpoint, without and with connection state recovery."""

from uuid import uuid4

from service.domain.streams import room_stream
from service.errors import OnRecordError
from service.gateway.auth.tokens import Identity
from service.gateway.engineio import PACKET
from service.gateway.session.rooms import RoomLimits
from service.gateway.session.session import Session
from service.gateway.socketio.socket import Socket
from service.protocol.acks import Ack
from service.protocol.events import Connected, Outgoing
from service.protocol.socketio import recovery
from service.protocol.socketio.emits import ack_packet, event_packet, refusal_packet
from service.realtime.hub import Hub

SOCKETIO = "socketio"


class SocketSession(Session):
    """A client in the main namespace; a `tag` is the number of the ack that it expects."""

    door = SOCKETIO

    def __init__(self, socket: Socket, hub: Hub, identity: Identity, limits: RoomLimits) -> None:
        super().__init__(socket, hub, identity, limits)
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


class RecoveringSession(SocketSession):
    """A session that sends an offset with every event; see `service.protocol.socketio.recovery`.

    `requested` are the cursors of `connect`; the client keeps its `pid` if all of them are recovered.

    Invariant: the offset of an event covers that event and everything before it on this connection. Offsets differ
    between connections, so each event is encoded for each of these sessions; other sessions do not pay for it.
    """

    def __init__(
        self,
        socket: Socket,
        hub: Hub,
        identity: Identity,
        limits: RoomLimits,
        requested: dict[str, int | None],
        pid: str | None,
    ) -> None:
        super().__init__(socket, hub, identity, limits)
        self._requested = requested
        self._pid = pid
        self._epoch = ""
        self._cursors: dict[str, int] = {}

    @property
    def wire_format(self) -> str:
        """Packets, also over a WebSocket, since `write` adds an offset to each."""
        return PACKET

    def welcome(self, connected: Connected) -> None:
        """Answer the CONNECT with the client's `pid` if all rooms are recovered, otherwise with a new one."""
        self._epoch = connected.epoch
        for room, head in connected.rooms.items():
            cursor = self._requested[room] if head.recovered else None
            if head.head is not None and head.reason != "not_a_member":
                self._cursors[room] = head.head if cursor is None else cursor
        whole = all(head.recovered for head in connected.rooms.values())
        self._socket.accept(self._pid if self._pid and whole else str(uuid4()))
        self.emit(connected)

    def emit(self, outgoing: Outgoing) -> None:
        """See `Session.emit`."""
        self.write(event_packet(outgoing))

    def write(self, frame: bytes) -> None:
        """Send an event's packet, with the offset after it."""
        place = recovery.room_and_seq(frame)
        if place is not None and self.is_subscribed(place[0]):
            self._cursors[place[0]] = place[1]
        self._socket.send(recovery.with_offset(frame, self._epoch, self._cursors))

    def listen(self, room: str, after: int | None, *, added: bool = False) -> None:
        """See `Session.listen`."""
        super().listen(room, after, added=added)
        start = self._hub.feeds.known_head(room_stream(room)) if after is None else after
        if start is not None:
            self._cursors[room] = start

    def left(self, room: str) -> None:
        """See `Session.left`."""
        super().left(room)
        self._cursors.pop(room, None)

    def stop(self, room: str) -> None:
        """See `Session.stop`."""
        super().stop(room)
        self._cursors.pop(room, None)
