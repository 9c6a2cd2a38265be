"""Counts the messages of each user in each room on each day (UTC).

This is a table and not a view over `messages`, so that deletion and erasure do not change the counts, and a query over
years reads a row per day instead of a row per message. It holds no content.

`apply` adds to existing rows. No event is counted twice, since rows and position change in one transaction.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from projections.engine.projection import Projection
from service.domain.events import MessagePosted, Recorded
from service.domain.streams import room_of

if TYPE_CHECKING:
    import asyncpg


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`."""
    await connection.execute(
        _ADD.format(table=table),
        [room_of(recorded.stream) for recorded in batch],
        [cast("MessagePosted", recorded.event).author for recorded in batch],  # the one event in `topics`
        [recorded.at for recorded in batch],
    )


PROJECTION = Projection(
    name="activity",
    version=1,
    topics=(MessagePosted.TOPIC,),
    key=("day", "room_id", "user_id"),
    apply=apply,
)
_ADD = """
    INSERT INTO {table} AS known (day, room_id, user_id, messages, first_at, last_at)
    SELECT (at AT TIME ZONE 'UTC')::date, room_id, user_id, count(*), min(at), max(at)
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS posted (room_id, user_id, at)
    GROUP BY 1, 2, 3
    ON CONFLICT (day, room_id, user_id) DO UPDATE SET
        messages = known.messages + excluded.messages,
        first_at = least(known.first_at, excluded.first_at),
        last_at = greatest(known.last_at, excluded.last_at)
"""
