"""Read markers per user and room; they only move forward. Queries add the readers' own unread markers."""

from collections.abc import Collection
from datetime import datetime

import msgspec
from databases import Database

from projections import unread_markers
from projections.engine.projection import Projection
from projections.engine.rows import Key, Rows
from projections.engine.snapshot import Row, Snapshot, snapshot
from projections.unread_markers import UnreadMarkerRow
from service.domain.events import ReadMarkerMoved, Recorded
from service.domain.streams import room_of, user_of_subject
from service.eventstore.serializer import EventSerializer


class ReceiptRow(msgspec.Struct, frozen=True):
    """A user has read everything up to the message `message_id`, since `at` (UTC)."""

    user_id: str
    message_id: int
    at: datetime


class RoomMarkers(msgspec.Struct, frozen=True):
    """The read markers in a room, by user, and the unread markers that count, which only their users may see."""

    receipts: list[ReceiptRow]
    unread: dict[str, UnreadMarkerRow]


class _Stored(msgspec.Struct, frozen=True):
    user_id: str
    room_id: str
    last_read_at: datetime
    last_read_message_id: int


async def of_rooms(
    database: Database, serializer: EventSerializer, rooms: Collection[str]
) -> dict[str, RoomMarkers]:
    """Return the markers of all users in some rooms as of the log's head.

    Raises:
        ProjectionBehind: a table is too far behind the log.
    """
    async with snapshot(database, serializer, PROJECTION, unread_markers.PROJECTION) as now:
        tail = await now.tail(_READERS, rooms=list(rooms))
        rows = await _ROWS.of_rooms(now, tail, PROJECTION, rooms)
        unread = await unread_markers.of_rooms(now, tail, rooms)
    found = {room: RoomMarkers([], {}) for room in rooms}
    for key, row in sorted(rows.items()):
        markers = found[row.room_id]
        markers.receipts.append(ReceiptRow(row.user_id, row.last_read_message_id, row.last_read_at))
        if key in unread and unread[key].holds(row.last_read_message_id):
            markers.unread[row.user_id] = unread[key]
    return found


async def markers(now: Snapshot, tail: list[Row], user: str) -> dict[str, int]:
    """Return the number after which a user's unread count begins in each room, within a snapshot of both tables.

    `tail` has the events about the user.
    """
    rows = await _ROWS.of_user(now, tail, PROJECTION, user)
    unread = await unread_markers.of_user(now, tail, user)
    return {
        row.room_id: own.message_id
        if (own := unread.get(row.room_id)) and own.holds(row.last_read_message_id)
        else row.last_read_message_id
        for row in rows
    }


def _key_of(recorded: Recorded) -> Key:
    return user_of_subject(recorded.subject), room_of(recorded.stream)


def _evolve(row: _Stored | None, recorded: Recorded) -> _Stored:
    event = recorded.event
    assert isinstance(event, ReadMarkerMoved)  # noqa: S101 - the one event in `topics`
    if row is not None and event.message <= row.last_read_message_id:
        return row
    user, room = _key_of(recorded)
    return _Stored(user, room, recorded.at, event.message)


_ROWS = Rows(_Stored, key=("user_id", "room_id"), key_of=_key_of, evolve=_evolve)
PROJECTION = Projection(
    name="read_receipts",
    version=1,
    topics=(ReadMarkerMoved.TOPIC,),
    key=_ROWS.key,
    apply=_ROWS.apply,
    row_key=_key_of,
)
_READERS = "starts_with(e.stream, 'reader:') AND split_part(e.stream, ':', 2) = ANY (CAST(:rooms AS text[]))"
