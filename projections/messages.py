"""The messages of all rooms, in the order of their numbers, which is the order of their times.

The words stand here in the clear, so whoever reads them reads past the keys: a query shows none whose key is gone,
even before the table is purged of them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from databases import Database

from projections.projection import Projection
from projections.tail import snapshot
from service.domain.events import MessagePosted, Recorded
from service.domain.streams import room_of, room_stream
from service.log.mapper import Mapper

if TYPE_CHECKING:
    import asyncpg

_GREATEST = 2**63 - 1


class MessageRow(msgspec.Struct, frozen=True):
    """A message. `id` is its number in the room, `content` is None once erased, `created_at` is UTC."""

    room_id: str
    id: int
    user_id: str
    content: str | None
    created_at: datetime
    reply_to: int | None
    mentions: tuple[str, ...]


class Page(msgspec.Struct, frozen=True):
    """Messages, oldest first, and whether there are more of them in the direction that was asked for."""

    messages: list[MessageRow]
    has_more: bool


async def page(
    database: Database,
    mapper: Mapper,
    room: str,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int,
    until: int | None = None,
) -> Page:
    """Return at most `limit` messages of a room as of the log's head.

    `before` and `after` are exclusive numbers of messages. With `after` they are the oldest after it, otherwise the
    newest (before it). Nothing past the seq `until` is shown.

    Raises:
        ProjectionBehind: the table is too far behind the log.
    """
    low = after or 0
    high = min(_GREATEST if before is None else before, _GREATEST if until is None else until + 1)
    query = _OLDEST if after is not None else _NEWEST
    async with snapshot(database, mapper, PROJECTION) as now:
        rows = await now.fetch(query, room=room, low=low, high=high, most=limit + 1)
        tail = await now.tail("e.stream = :stream", stream=room_stream(room))
    found = [row_of(row) for row in rows]
    found += [posted(recorded) for recorded in now.lacking(tail, PROJECTION) if low < recorded.seq < high]
    found.sort(key=lambda row: row.id)
    kept = found[:limit] if after is not None else found[-limit:]
    return Page(kept, has_more=len(found) > limit)


def posted(recorded: Recorded) -> MessageRow:
    """Return the row of a message that was posted."""
    event = recorded.event
    assert isinstance(event, MessagePosted)  # noqa: S101 - the one event in `topics`
    return MessageRow(
        room_of(recorded.stream),
        recorded.seq,
        event.author,
        event.content,
        recorded.at,
        event.reply_to,
        event.mentions,
    )


def row_of(record: Mapping[str, Any]) -> MessageRow:
    """Return the row in a record that has the columns of `COLUMNS`."""
    fields = {name: record[name] for name in MessageRow.__struct_fields__}
    return MessageRow(**{**fields, "mentions": tuple(record["mentions"])})


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.projection.Apply`."""
    rows = [posted(recorded) for recorded in batch]
    await connection.execute(
        _INSERT.format(table=table),
        [row.room_id for row in rows],
        [row.id for row in rows],
        [row.user_id for row in rows],
        [row.content for row in rows],
        [row.created_at for row in rows],
        [row.reply_to for row in rows],
        [" ".join(row.mentions) for row in rows],
        [recorded.position for recorded in batch],
    )


PROJECTION = Projection(
    name="messages", version=1, topics=(MessagePosted.TOPIC,), key=("room_id", "id"), apply=apply
)
COLUMNS = """
    m.room_id, m.id, m.user_id, m.created_at, m.reply_to, m.mentions,
    CASE WHEN m.key_id IS NULL OR k.key_id IS NOT NULL THEN m.content END AS content
"""
"""The columns of a `MessageRow`, of `messages_v1 m LEFT JOIN person_keys k ON k.key_id = m.key_id`."""
# An array of arrays has to be even, so mentions travel as one text: user ids hold no space. Which key the words are
# sealed with is not in the event but beside it in the log.
_INSERT = """
    INSERT INTO {table} (room_id, id, user_id, content, created_at, reply_to, mentions, position, key_id)
    SELECT m.room_id, m.id, m.user_id, m.content, m.created_at, m.reply_to, string_to_array(m.mentions, ' '),
        m.position, e.key_id
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[],
            $8::bigint[]) AS m (room_id, id, user_id, content, created_at, reply_to, mentions, position)
        LEFT JOIN stored_events e ON e.notification_id = m.position
"""
_PAGE = f"""
    SELECT {COLUMNS}
    FROM {PROJECTION.table} m LEFT JOIN person_keys k ON k.key_id = m.key_id
    WHERE m.room_id = :room AND m.id > :low AND m.id < :high
"""  # noqa: S608 - constants
_OLDEST = _PAGE + "ORDER BY m.id LIMIT :most"
_NEWEST = _PAGE + "ORDER BY m.id DESC LIMIT :most"
