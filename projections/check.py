"""Reports the positions of the projections, and verifies their tables against the log.

Invariant: `verify` changes nothing and trusts no table. It folds the log from its beginning to the live table's
position, with the code that follows it live, and compares in both directions, in one snapshot.
"""

from typing import TYPE_CHECKING, Any

from projections import PROJECTIONS
from projections.engine.compare import compare
from projections.engine.log_window import DiffersFromSeal, events, next_window, tracked
from projections.engine.projection import Projection
from service.domain.events import Recorded
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg


async def status(connection: "asyncpg.Connection[Any]") -> list[dict[str, Any]]:
    """Return per projection `name`, `version`, `position`, the log's `head`, and `behind` in positions.

    `position` and `behind` are None for a projection whose table was never created.
    """
    rows = await connection.fetch(_STATUS, [projection.table for projection in PROJECTIONS])
    return [
        {"name": projection.name, "version": projection.version, **row}
        for projection, row in zip(PROJECTIONS, rows, strict=True)
    ]


async def verify(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    projection: Projection,
    differs: DiffersFromSeal | None = None,
) -> dict[str, Any]:
    """Compare a live table with a fold of the log up to the table's position.

    Returns `name`, `version`, `position`, `equal`, `rows` (in the live table), how many rows are `missing` from it,
    `extra` in it and `changed`, and `keys`: the first few that differ, as text, in the order of `Projection.key`.
    `unreadable` has `position`, `stream`, `seq`, `topic` and `reason` of each event that cannot be read. Rows about
    such events are not compared, since a table that was filled before the damage still has the lost values.
    `differs` detects damaged topics.

    Raises:
        UnknownTopic: the log holds an event that this version does not understand.
    """
    fresh, live = f"fresh_{projection.table}", projection.relation
    async with connection.transaction(isolation="repeatable_read"):
        # A plan made while the table was empty would be kept when it is full.
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        await connection.execute(f"CREATE TEMPORARY TABLE {fresh} (LIKE {live} INCLUDING ALL) ON COMMIT DROP")
        position = await tracked(connection, projection.table)
        damaged = await _rebuild(connection, serializer, projection, fresh, position, differs)
        found = await compare(connection, projection.key, live, fresh, ignored=_keys_of(projection, damaged))
    return {
        "name": projection.name,
        "version": projection.version,
        "position": position,
        "equal": not (found["missing"] or found["extra"] or found["changed"]),
        **found,
        "unreadable": [_unreadable(recorded) for recorded in damaged],
    }


async def _rebuild(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    projection: Projection,
    table: str,
    until: int,
    differs: DiffersFromSeal | None,
) -> list[Recorded]:
    """Fold the log up to a position; return the events in it that cannot be read."""
    damaged: list[Recorded] = []
    window = await next_window(connection, projection.followed, 0, until, differs)
    while window.upto > window.after:
        if batch := await events(connection, serializer, projection.followed, window):
            await projection.take(connection, table, batch)
            damaged += [recorded for recorded in batch if recorded.damage is not None]
        window = await next_window(connection, projection.followed, window.upto, until, differs)
    return damaged


def _keys_of(projection: Projection, damaged: list[Recorded]) -> set[tuple[str | int, ...]]:
    row_key = projection.row_key
    return set() if row_key is None else {key for event in damaged if (key := row_key(event)) is not None}


def _unreadable(recorded: Recorded) -> dict[str, Any]:
    assert recorded.damage is not None  # noqa: S101 - for the type checker
    return {
        "position": recorded.position,
        "stream": recorded.stream,
        "seq": recorded.seq,
        "topic": recorded.damage.topic,
        "reason": recorded.damage.reason,
    }


_STATUS = """
    SELECT t.notification_id AS position, log.head, log.head - t.notification_id AS behind
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, number)
        LEFT JOIN notification_tracking t ON t.application_name = wanted.name
        CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS head FROM stored_events) log
    ORDER BY wanted.number
"""
