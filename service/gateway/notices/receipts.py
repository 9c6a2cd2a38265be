"""Sends moved markers, and all of them after an outage of the bus. None is part of a room's order of events.

Read markers are sent to the members of a room, unread markers to their own user's connections alone.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from service.cluster.relay import Relay
from service.domain.events import Event, ReadMarkerMoved, UnreadMarkerMoved
from service.errors import Trouble
from service.protocol.events import MessageReadBy, UnreadFrom, timestamp
from service.realtime.audience import Audience

MARKER = "marker"
UNREAD = "unread"
MOST_MARKERS = 10_000
"""Readers whose last marker is remembered; the earliest is forgotten first."""

log = logging.getLogger("onrecord.news")


class MovedElsewhere(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="message:read"
):
    """A moved read marker, as nodes send it to each other: the frame that earlier versions sent, plus `seen`.

    `seen` is the head of the room on the sending node, `order` the seq in the reader's stream, 0 if unknown. No client
    receives this, so it is no `Outgoing`.
    """

    room_id: str
    user_id: str
    message_id: int
    at: str
    seen: int = 0
    order: int = 0


class UnreadElsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A moved unread marker, as nodes send it to each other; `seen` and `order` as in `MovedElsewhere`."""

    user: str
    message: int
    at: str
    seen: int
    order: int


_moved = msgspec.json.Decoder(MovedElsewhere)
_unread = msgspec.json.Decoder(UnreadElsewhere)


class MarkerNotices:
    """Sends moved markers to connections on this node and on the others.

    Messages of nodes may arrive out of order: a read marker is sent if it is past the last one, and to the reader's own
    connections, as an unread marker, only if it is later in the reader's stream.
    """

    def __init__(self, audience: Audience, relay: Relay) -> None:
        self._audience = audience
        self._relay = relay
        self._markers: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        """By room and user: the furthest read marker, and the last seq of the reader's stream."""

    def clear(self) -> None:
        """Forget the markers that were sent, after a restore of the log."""
        self._markers.clear()

    def marker_moved(self, room: str, event: Event, order: int, moved_at: datetime) -> None:
        """Send a recorded move to whom it concerns on every node; `order` is its seq in the reader's stream."""
        seen, at = self._audience.head(room), timestamp(moved_at)
        if isinstance(event, ReadMarkerMoved):
            moved = MovedElsewhere(
                room_id=room, user_id=event.user, message_id=event.message, at=at, seen=seen, order=order
            )
            self._read(room, moved)
            self._relay.publish_to_room(room, MARKER, msgspec.json.encode(moved))
        elif isinstance(event, UnreadMarkerMoved):
            unread = UnreadElsewhere(user=event.user, message=event.message, at=at, seen=seen, order=order)
            self._unread(room, unread)
            self._relay.publish_to_room(room, UNREAD, msgspec.json.encode(unread))

    def marker_moved_elsewhere(self, room: str, payload: bytes) -> None:
        """Send a read marker that moved on another node to the room's members on this node."""
        self._read(room, _moved.decode(payload))

    def unread_elsewhere(self, room: str, payload: bytes) -> None:
        """Send an unread marker that moved on another node to its user's connections on this node."""
        self._unread(room, _unread.decode(payload))

    def _read(self, room: str, moved: MovedElsewhere) -> None:
        user, number = moved.user_id, moved.message_id
        ahead, latest = self._remember(room, user, number, moved.order)
        if ahead:
            shown = MessageReadBy(room_id=room, user_id=user, message_id=number, at=moved.at)
            self._audience.broadcast(room, shown, but=None if latest else user, seen=moved.seen)

    def _unread(self, room: str, moved: UnreadElsewhere) -> None:
        if self._remember(room, moved.user, 0, moved.order)[1]:
            shown = UnreadFrom(room_id=room, last_read=moved.message, at=moved.at)
            self._audience.broadcast(room, shown, only=moved.user, seen=moved.seen)

    def _remember(self, room: str, user: str, message: int, order: int) -> tuple[bool, bool]:
        """Remember a marker; return whether it is past the read marker, and whether it is the reader's last event."""
        furthest, last = self._markers.get((room, user), (0, 0))
        self._markers[room, user] = max(furthest, message), max(last, order)
        self._markers.move_to_end((room, user))
        if len(self._markers) > MOST_MARKERS:
            self._markers.popitem(last=False)
        return message > furthest, order > last or not order


class ReceiptsResync:
    """Sends the markers of every room in use after an outage of the bus, during which none arrived."""

    def __init__(self, audience: Audience, markers: Callable[[str], Awaitable[Any]]) -> None:
        self._audience = audience
        self._markers = markers
        self._due = asyncio.Event()

    def due(self) -> None:
        """Make `run` send the markers."""
        self._due.set()

    async def run(self) -> None:
        """Send the markers after each call of `due`, one room after the other, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            for room in self._audience.live_rooms():
                try:
                    markers = await self._markers(room)
                except Trouble as error:
                    log.warning("receipts_not_sent", extra={"room": room, "problem": str(error)})
                else:
                    self._audience.broadcast(room, markers.receipts)
                    for subscriber in self._audience.of(room) if markers.unread else ():
                        for event in markers.unread_of(subscriber.user):
                            self._audience.send([subscriber], event)
