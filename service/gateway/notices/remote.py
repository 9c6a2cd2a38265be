"""What reaches connections from outside their own commands: the bus, the tail reader, a renewed log.

The rule: what is on the record is delivered through the hub alone, in order; here is what has no place in that order.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from service.cluster.relay import Relay
from service.domain.room_state import changes_more_than_head
from service.domain.streams import room_of, room_stream
from service.encryption.keyring import KeyRing
from service.errors import Trouble
from service.eventstore.readiness import Readiness
from service.eventstore.serializer import EventSerializer, Row
from service.gateway.notices.memberships import MembershipNotifier
from service.gateway.session.registry import SessionRegistry
from service.protocol.close_codes import Close
from service.protocol.events import MessageReadBy, Receipts, timestamp
from service.realtime.hub import Hub
from service.realtime.subscriber import Subscriber
from service.realtime.user_cache import UserCache

MARKER = "marker"
MOST_MARKERS = 10_000
"""Readers of rooms whose last marker is remembered; the earliest is forgotten first."""

log = logging.getLogger("onrecord.news")


class MovedElsewhere(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="message:read"
):
    """A read marker as nodes send it to each other: the frame of an earlier version's nodes, and `seen`.

    `seen` is the head of the room on the node that sends it. No client is sent this, so it is no `Outgoing`.
    """

    room_id: str
    user_id: str
    message_id: int
    at: str
    seen: int = 0


_moved = msgspec.json.Decoder(MovedElsewhere)


class BusHandlers:
    """Takes news and tells connections."""

    def __init__(
        self,
        hub: Hub,
        relay: Relay,
        serializer: EventSerializer,
        people: UserCache,
        sessions: SessionRegistry,
        telling: MembershipNotifier,
        readiness: Readiness,
        keys: KeyRing,
    ) -> None:
        self._hub = hub
        self._relay = relay
        self._serializer = serializer
        self._people = people
        self._sessions = sessions
        self._telling = telling
        self._readiness = readiness
        self._keys = keys
        self._markers: OrderedDict[tuple[str, str], int] = OrderedDict()
        relay.on_events(self.recorded_elsewhere)
        hub.on_resync = self._come_back
        relay.on_room(MARKER, self.marker_moved_elsewhere)

    def recorded_elsewhere(self, stream: str, rows: list[Row]) -> None:
        """Deliver what another node recorded in a room, or read it in the log.

        It is read where words need a key that is not known here yet, and where it changes members or settings: these
        decide what people may do, so they come from the record alone.
        """
        events = [self._serializer.from_peer_row(stream, row) for row in rows]
        told = [event for event in events if event is not None and not changes_more_than_head(event.event)]
        if told and len(told) == len(rows):
            self._hub.hear(room_of(stream), told)
        elif rows:
            self._hub.mark_missing(room_of(stream), rows[-1].seq)

    def marker_moved(self, room: str, user: str, message: int, at: datetime) -> None:
        """Tell a room on every node that somebody has read up to a message."""
        moved = MessageReadBy(room_id=room, user_id=user, message_id=message, at=timestamp(at))
        if self._is_ahead(room, user, message):
            self._hub.broadcast(room, moved)
        seen = self._hub.known_head(room_stream(room)) or 0
        payload = MovedElsewhere(**msgspec.structs.asdict(moved), seen=seen)
        self._relay.tell_room(room, MARKER, msgspec.json.encode(payload))

    def marker_moved_elsewhere(self, room: str, payload: bytes) -> None:
        """Send the members here a marker that moved on another node."""
        moved = _moved.decode(payload)
        shown = MessageReadBy(room_id=room, user_id=moved.user_id, message_id=moved.message_id, at=moved.at)
        if self._is_ahead(room, moved.user_id, moved.message_id):
            self._hub.broadcast(room, shown, seen=moved.seen)

    def _is_ahead(self, room: str, user: str, message: int) -> bool:
        """Return whether a marker is past the last one sent: of two nodes that move it, one may overtake the other."""
        if message <= self._markers.get((room, user), 0):
            return False
        self._markers[room, user] = message
        self._markers.move_to_end((room, user))
        if len(self._markers) > MOST_MARKERS:
            self._markers.popitem(last=False)
        return True

    def renewed(self, epoch: str) -> None:
        """Forget everything: the log is another one now, and every client has to come back with its cursors."""
        self._readiness.renewed(epoch)
        self._hub.reset()
        self._people.clear()
        self._keys.clear()
        self._telling.clear()
        self._markers.clear()
        for session in self._sessions.all():
            session.close(Close.FENCED, "the log was restored; come back")

    def _come_back(self, listeners: set[Subscriber]) -> None:
        """Close the connections that were written what is not on the record."""
        for session in self._sessions.all():
            if session in listeners:
                session.close(Close.FENCED, "a room is loaded again; come back")


class ReceiptsResync:
    """After an outage of the bus, tells every room in use how far everybody has read: nobody heard what moved in it."""

    def __init__(self, hub: Hub, receipts: Callable[[str], Any]) -> None:
        self._hub = hub
        self._receipts = receipts
        self._due = asyncio.Event()

    def due(self) -> None:
        """Do it soon."""
        self._due.set()

    async def run(self) -> None:
        """Do it whenever it is due, one room after the other, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            for room in self._hub.heard_rooms():
                try:
                    found: Receipts = await self._receipts(room)
                except Trouble as error:
                    log.warning("receipts_not_sent", extra={"room": room, "problem": str(error)})
                else:
                    self._hub.broadcast(room, found)
