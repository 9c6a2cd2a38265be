"""Lists the public rooms by id: a query over the table of `rooms`, for users who look for a room to join.

The list shows a room's settings alone, so that only those events are read from the log's tail.
"""

import msgspec
from databases import Database

from projections import room_rows
from projections.engine.snapshot import snapshot
from projections.room_rows import RoomRow
from service.domain.events import Recorded, RoomOpened
from service.domain.streams import SETTINGS, room_of
from service.eventstore.serializer import EventSerializer


class Page(msgspec.Struct, frozen=True):
    """Rooms by id, and whether more follow. Their heads and last messages are those of the table."""

    rooms: list[RoomRow]
    has_more: bool


async def public_rooms(
    database: Database, serializer: EventSerializer, *, after: str | None, limit: int
) -> Page:
    """Return at most `limit` public rooms whose ids come after `after`, as of the log's head.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    cursor = after or ""
    async with snapshot(database, serializer, room_rows.PROJECTION) as now:
        found = room_rows.ROWS.by_key(await now.fetch(_PUBLIC, after=cursor, most=limit + 1))
        tail = await now.tail("e.subject = :settings", settings=SETTINGS)
    newer = now.lacking(tail, room_rows.PROJECTION)
    room_rows.ROWS.fold(found, (event for event in newer if _listed(event, cursor, found)))
    ordered = sorted(found.values(), key=lambda row: row.room_id)
    return Page(ordered[:limit], has_more=len(ordered) > limit)


def _listed(recorded: Recorded, cursor: str, found: dict[tuple[str, ...], RoomRow]) -> bool:
    """Return whether an event is about a room of this page, or opens a room that may belong to it."""
    room = room_of(recorded.stream)
    if isinstance(recorded.event, RoomOpened):
        return recorded.event.visibility == "public" and room > cursor
    return (room,) in found


# In byte order, as in Python, independent of the locale.
_PUBLIC = f"""
    SELECT * FROM {room_rows.PROJECTION.relation}
    WHERE visibility = 'public' AND room_id COLLATE "C" > :after
    ORDER BY room_id COLLATE "C" LIMIT :most
"""  # noqa: S608 - a constant
