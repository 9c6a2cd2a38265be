"""A session whose client keeps an offset; see `service.protocol.socketio.recovery`.

Invariant: the offset of an event covers that event and everything before it on this connection. It differs between
connections, so each event is encoded for each of these sessions; only clients that request recovery cost that.
"""

from typing import NamedTuple
from uuid import uuid4

from service.domain.streams import room_stream
from service.gateway.auth.tokens import Identity
from service.gateway.engineio import PACKET
from service.gateway.socketio.session import SocketSession
from service.gateway.socketio.socket import Socket
from service.protocol.events import Connected, Outgoing
from service.protocol.socketio import recovery
from service.protocol.socketio.emits import event_packet
from service.realtime.hub import Hub


class Begin(NamedTuple):
    """The cursors of `connect`, and the `pid` that is kept if they all hold."""

    rooms: dict[str, int | None]
    pid: str | None


class RecoveringSession(SocketSession):
    """A session that sends its cursors with every event; `begin` are the cursors that its client requests."""

    def __init__(self, socket: Socket, hub: Hub, identity: Identity, max_rooms: int, begin: Begin) -> None:
        super().__init__(socket, hub, identity, max_rooms)
        self._begin = begin
        self._epoch = ""
        self._cursors: dict[str, int] = {}

    @property
    def wire_format(self) -> str:
        """Packets, in polls and over a WebSocket, since each is completed here."""
        return PACKET

    def welcome(self, connected: Connected) -> None:
        """Answer the CONNECT with the same `pid` if nothing was lost, and a new one otherwise."""
        self._epoch = connected.epoch
        for room, head in connected.rooms.items():
            cursor = self._begin.rooms[room] if head.recovered else None
            if head.head is not None and head.reason != "not_a_member":
                self._cursors[room] = head.head if cursor is None else cursor
        whole = all(head.recovered for head in connected.rooms.values())
        self._socket.accept(self._begin.pid if self._begin.pid and whole else str(uuid4()))
        self.emit(connected)

    def emit(self, outgoing: Outgoing) -> None:
        """See `Session.emit`."""
        self.write(event_packet(outgoing))

    def write(self, frame: bytes) -> None:
        """Send an event's packet, with the cursors after it."""
        place = recovery.place_of(frame)
        if place is not None and self.hears(place[0]):
            self._cursors[place[0]] = place[1]
        self._socket.send(recovery.with_offset(frame, self._epoch, self._cursors))

    def listen(self, room: str, after: int | None) -> None:
        """See `Session.listen`."""
        super().listen(room, after)
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
