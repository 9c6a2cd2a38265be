"""Sends moved read markers, and receipts after an outage of the bus. Neither is part of a room's order of events."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from service.cluster.relay import Relay
from service.errors import Trouble
from service.protocol.events import MessageReadBy, Receipts, timestamp
from service.realtime.audience import Audience

MARKER = "marker"
MOST_MARKERS = 10_000
"""Readers whose last marker is remembered; the earliest is forgotten first."""

log = logging.getLogger("onrecord.news")


class MovedElsewhere(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="message:read"
):
    """A moved read marker, as nodes send it to each other: the frame that earlier versions sent, plus `seen`.

    `seen` is the head of the room on the sending node. No client receives this, so it is no `Outgoing`.
    """

    room_id: str
    user_id: str
    message_id: int
    at: str
    seen: int = 0


_moved = msgspec.json.Decoder(MovedElsewhere)


class MarkerNotices:
    """Sends moved read markers to the members of their room, on this node and on the others."""

    def __init__(self, audience: Audience, relay: Relay) -> None:
        self._audience = audience
        self._relay = relay
        self._markers: OrderedDict[tuple[str, str], int] = OrderedDict()

    def clear(self) -> None:
        """Forget the markers that were sent, after a restore of the log."""
        self._markers.clear()

    def marker_moved(self, room: str, user: str, message: int, at: datetime) -> None:
        """Send a moved read marker to the room's members on every node."""
        moved = MessageReadBy(room_id=room, user_id=user, message_id=message, at=timestamp(at))
        if self._is_ahead(room, user, message):
            self._audience.broadcast(room, moved)
        seen = self._audience.head(room)
        payload = MovedElsewhere(**msgspec.structs.asdict(moved), seen=seen)
        self._relay.publish_to_room(room, MARKER, msgspec.json.encode(payload))

    def marker_moved_elsewhere(self, room: str, payload: bytes) -> None:
        """Send a marker that moved on another node to the room's members on this node."""
        moved = _moved.decode(payload)
        shown = MessageReadBy(room_id=room, user_id=moved.user_id, message_id=moved.message_id, at=moved.at)
        if self._is_ahead(room, moved.user_id, moved.message_id):
            self._audience.broadcast(room, shown, seen=moved.seen)

    def _is_ahead(self, room: str, user: str, message: int) -> bool:
        """Remember a marker; return whether it is past the last one, since nodes' messages may arrive out of order."""
        if message <= self._markers.get((room, user), 0):
            return False
        self._markers[room, user] = message
        self._markers.move_to_end((room, user))
        if len(self._markers) > MOST_MARKERS:
            self._markers.popitem(last=False)
        return True


class ReceiptsResync:
    """Sends the receipts of every room in use after an outage of the bus, during which no marker arrived."""

    def __init__(self, audience: Audience, receipts: Callable[[str], Any]) -> None:
        self._audience = audience
        self._receipts = receipts
        self._due = asyncio.Event()

    def due(self) -> None:
        """Make `run` send the receipts."""
        self._due.set()

    async def run(self) -> None:
        """Send receipts after each call of `due`, one room after the other, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            for room in self._audience.live_rooms():
                try:
                    receipts: Receipts = await self._receipts(room)
                except Trouble as error:
                    log.warning("receipts_not_sent", extra={"room": room, "problem": str(error)})
                else:
                    self._audience.broadcast(room, receipts)
