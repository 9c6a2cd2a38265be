"""Pages of messages, in the order of their numbers, which is the order of their times.

The table holds content in the clear. A query hides content whose key is destroyed, even before the runner purges it
from the table. `message_rows` writes the rows.
"""

from collections.abc import Iterable

import msgspec
from databases import Database

from projections.engine.snapshot import Snapshot, snapshot
from projections.message_rows import COLUMNS, PROJECTION, MessageRow, fold, key_of, row_of
from service.domain.events import MessageDeleted, Recorded
from service.domain.streams import room_stream
from service.eventstore.event_queries import portions
from service.eventstore.serializer import EventSerializer

__all__ = ["PROJECTION", "MessageRow", "Page", "page"]

_GREATEST = 2**63 - 1


class Page(msgspec.Struct, frozen=True):
    """Messages, oldest first, and whether there are more in the requested direction."""

    messages: list[MessageRow]
    has_more: bool


async def page(
    database: Database,
    serializer: EventSerializer,
    room: str,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int,
    until: int | None = None,
) -> Page:
    """Return at most `limit` messages of a room as of the log's head.

    `before` and `after` are exclusive numbers of messages. With `after` the page has the oldest messages after it,
    otherwise the newest (before it). Nothing later than the seq `until` is shown, except that a message was deleted.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    low = after or 0
    high = min(_GREATEST if before is None else before, _GREATEST if until is None else until + 1)
    query = _OLDEST if after is not None else _NEWEST
    beyond: list[int] = []
    async with snapshot(database, serializer, PROJECTION) as now:
        found = await now.fetch(query, room=room, low=low, high=high, most=limit + 1)
        rows = {(room, row["id"]): row_of(row) for row in found}
        if until is not None:
            if beyond := await _beyond_budget(now, room, rows.values(), until):
                low, high = (low, min(beyond)) if after is not None else (max(beyond), high)
            rows = await _as_of(now, room, [row for row in rows.values() if low < row.id < high], until)
        tail = await now.tail("e.stream = :stream", stream=room_stream(room), until=until)
    newer = [
        recorded
        for recorded in now.lacking(tail, PROJECTION)
        if low < key_of(recorded)[1] < high and _is_shown(recorded, until)
    ]
    shown = sorted(fold(rows, newer).values(), key=lambda row: row.id)
    kept = shown[:limit] if after is not None else shown[-limit:]
    if until is not None:
        # A deletion is shown although it is later; the unpinning that comes with it is not read.
        kept = [msgspec.structs.replace(row, pinned=False) if row.deleted_at else row for row in kept]
    return Page(kept, has_more=bool(beyond) or len(shown) > limit)


async def numbered(
    database: Database, serializer: EventSerializer, room: str, numbers: list[int]
) -> list[MessageRow]:
    """Return messages of a room by their numbers, as of the log's head; those that do not exist are left out.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    async with snapshot(database, serializer, PROJECTION) as now:
        found = await now.fetch(_NUMBERED, room=room, numbers=numbers)
        tail = await now.tail("e.stream = :stream", stream=room_stream(room))
    wanted = set(numbers)
    newer = [each for each in now.lacking(tail, PROJECTION) if key_of(each)[1] in wanted]
    rows = fold({(room, row["id"]): row_of(row) for row in found}, newer)
    return list(rows.values())


async def _beyond_budget(now: Snapshot, room: str, rows: Iterable[MessageRow], until: int) -> list[int]:
    """Return the numbers of the rows, in reading order, whose past is too much to be read for this page as well."""
    numbers = [row.id for row in rows if row.changed_seq > until]
    parts = portions(numbers, await now.reactions(room_stream(room), numbers))
    return [number for part in parts[1:] for number in part]


async def _as_of(
    now: Snapshot, room: str, rows: Iterable[MessageRow], until: int
) -> dict[tuple[str, int], MessageRow]:
    """Return the rows as they were at `until`, without content if deleted since."""
    changed = {row.id: row for row in rows if row.changed_seq > until}
    facts = await now.facts(PROJECTION, room_stream(room), list(changed), until)
    then = fold({(room, row.id): row for row in rows if row.id not in changed}, facts)
    return {
        key: msgspec.structs.replace(row, content=None, deleted_at=changed[row.id].deleted_at, reactions={})
        if row.id in changed and changed[row.id].deleted_at
        else row
        for key, row in then.items()
    }


def _is_shown(recorded: Recorded, until: int | None) -> bool:
    return until is None or recorded.seq <= until or isinstance(recorded.event, MessageDeleted)


_ROOM = f"""
    SELECT {COLUMNS} FROM {PROJECTION.relation} m LEFT JOIN open_keys k ON k.key_id = m.key_id WHERE m.room_id = :room
"""  # noqa: S608 - constants
_NUMBERED = _ROOM + "AND m.id = ANY (CAST(:numbers AS bigint[]))"
_PAGE = _ROOM + "AND m.id > :low AND m.id < :high "
_OLDEST = _PAGE + "ORDER BY m.id LIMIT :most"
_NEWEST = _PAGE + "ORDER BY m.id DESC LIMIT :most"
