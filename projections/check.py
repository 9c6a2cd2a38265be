"""How far the projections are, and whether their tables are what the log says.

The rule: `verify` changes nothing and trusts nothing. It folds the log again, from its beginning to where the live
table stands, by the code that follows it live, and compares in both directions, all in one snapshot.
"""

from typing import TYPE_CHECKING, Any

from projections import PROJECTIONS
from projections.compare import compare
from projections.projection import Projection
from projections.spans import events, next_span, tracked
from service.log.mapper import Mapper

if TYPE_CHECKING:
    import asyncpg


async def status(connection: "asyncpg.Connection[Any]") -> list[dict[str, Any]]:
    """Return per projection `name`, `version`, `position`, the log's `head`, and `behind` in positions.

    `position` and `behind` are None where a projection's table was never made.
    """
    rows = await connection.fetch(_STATUS, [projection.table for projection in PROJECTIONS])
    return [
        {"name": projection.name, "version": projection.version, **row}
        for projection, row in zip(PROJECTIONS, rows, strict=True)
    ]


async def verify(
    connection: "asyncpg.Connection[Any]", mapper: Mapper, projection: Projection
) -> dict[str, Any]:
    """Compare a live table with a fold of the log up to the table's position.

    Returns `name`, `version`, `position`, `equal`, `rows` (in the live table), how many rows are `missing` from it,
    `extra` in it and `changed`, and `keys`: the first few that differ, as text, in the order of `Projection.key`.

    Raises:
        UnknownTopic: the log holds an event that this version does not understand.
    """
    fresh, live = f"fresh_{projection.table}", projection.relation
    async with connection.transaction(isolation="repeatable_read"):
        # A plan made while the table was empty would be kept when it is full.
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        await connection.execute(f"CREATE TEMPORARY TABLE {fresh} (LIKE {live} INCLUDING ALL) ON COMMIT DROP")
        position = await tracked(connection, projection.table)
        await _rebuild(connection, mapper, projection, fresh, position)
        found = await compare(connection, projection.key, live, fresh)
    return {
        "name": projection.name,
        "version": projection.version,
        "position": position,
        "equal": not (found["missing"] or found["extra"] or found["changed"]),
        **found,
    }


async def _rebuild(
    connection: "asyncpg.Connection[Any]", mapper: Mapper, projection: Projection, table: str, until: int
) -> None:
    span = await next_span(connection, projection.followed, 0, until)
    while span.upto > span.after:
        if batch := await events(connection, mapper, projection.followed, span):
            await projection.take(connection, table, batch)
        span = await next_span(connection, projection.followed, span.upto, until)


_STATUS = """
    SELECT t.notification_id AS position, log.head, log.head - t.notification_id AS behind
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, number)
        LEFT JOIN notification_tracking t ON t.application_name = wanted.name
        CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS head FROM stored_events) log
    ORDER BY wanted.number
"""
