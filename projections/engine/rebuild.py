"""Rebuilds a read model beside the live table, compares the two and switches in one transaction (blue-green).

A *new version* of a projection has a new table. It is created and filled from the log; when it has caught up with the
table that the public views show, the views are repointed. A table that is *wrong*, for example after a manual change,
is rebuilt if a row in `notification_tracking` requests it: a `replacement` table is filled, and the rows that differ
are replaced.

Invariant: readers see either all old or all new rows, and the live table is kept current until it is replaced. A
rebuild continues after a restart, since the new table's position is stored under the table's name.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migrations.roles import DEFAULT, PREFIX
from projections.engine.compare import Difference, compare
from projections.engine.projection import SCHEMA, Projection, relation

if TYPE_CHECKING:
    import asyncpg

log = logging.getLogger("onrecord.project")


def replacement(projection: Projection) -> str:
    """Return the name of the table into which a wrong table is rebuilt."""
    return f"{projection.table}_again"


async def request(connection: "asyncpg.Connection[Any]", projections: Sequence[Projection]) -> None:
    """Request the rebuild of projections; the projector begins within seconds. A repetition changes nothing."""
    await connection.executemany(_TRACK, [(replacement(projection),) for projection in projections])


async def requested(
    connection: "asyncpg.Connection[Any]", projections: Sequence[Projection]
) -> list[Projection]:
    """Return the projections whose rebuild is requested."""
    names = {replacement(projection): projection for projection in projections}
    rows = await connection.fetch(_TRACKED, list(names))
    return [names[row["application_name"]] for row in rows]


async def begin(connection: "asyncpg.Connection[Any]", projection: Projection, table: str) -> str | None:
    """Create `table` if it does not exist; return the table that is live until `table` has caught up with it.

    Returns None if `table` itself or a newer version is live.
    """
    if table == replacement(projection):
        properties = await connection.fetch(_PROPERTIES, projection.relation)
        statements = ";".join([_LIKE, *(row["statement"] for row in properties)])
        await _create(connection, statements.format(table=relation(table), live=projection.relation), table)
        return projection.table
    live, version = await _shown(connection, projection)
    if live is None or version >= projection.version:
        return None
    if projection.create:
        await _create(connection, projection.create.format(table=relation(table)), table)
        await connection.execute(_TRACK, table)
    return live


async def finish(
    connection: "asyncpg.Connection[Any]", projection: Projection, table: str, live: str
) -> bool:
    """Replace `live` by `table`; return False if `live` has moved on."""
    async with connection.transaction():
        # The runners of both tables wait for these locks, and continue from the same position.
        rows = await connection.fetch(_LOCK, [table, live])
        if len({row["notification_id"] for row in rows}) > 1:
            return False
        fresh, shown = relation(table), relation(live)
        columns = await connection.fetch(_SHARED, fresh, shown)
        found = await compare(connection, projection.key, shown, fresh, [row["attname"] for row in columns])
        if table == replacement(projection):
            await _replace_differing(connection, projection, table)
        else:
            await connection.execute(projection.views.format(table=fresh))
    _log_switch(projection, table, live, found)
    return True


async def _replace_differing(
    connection: "asyncpg.Connection[Any]", projection: Projection, table: str
) -> None:
    live, fresh, key = projection.relation, relation(table), ", ".join(projection.key)
    same = " AND ".join(f"live.{name} = differing.{name}" for name in projection.key)
    await connection.execute(f"DELETE FROM {live} live USING differing WHERE {same}")  # noqa: S608 - names of our own
    await connection.execute(
        f"INSERT INTO {live} SELECT fresh.* FROM {fresh} fresh JOIN differing USING ({key})"  # noqa: S608 - likewise
    )
    await connection.execute(f"DROP TABLE {fresh}")
    await connection.execute("DELETE FROM notification_tracking WHERE application_name = $1", table)


async def _create(connection: "asyncpg.Connection[Any]", statements: str, table: str) -> None:
    async with connection.transaction():
        if await connection.fetchval("SELECT to_regclass($1)", relation(table)):
            return
        # The owner is the projector's role and not its login, which the operator may replace.
        prefix = await connection.fetchval(PREFIX) or DEFAULT
        await connection.execute(f"SET LOCAL ROLE {prefix}_projector")
        await connection.execute(statements)
        await connection.execute(f"GRANT SELECT ON {relation(table)} TO {prefix}_node")


async def _shown(connection: "asyncpg.Connection[Any]", projection: Projection) -> tuple[str | None, int]:
    rows = await connection.fetch(_SHOWN, SCHEMA, projection.name, rf"\A{projection.name}_v[0-9]+\Z")
    versions = {int(row["relname"].rpartition("_v")[2]): str(row["relname"]) for row in rows}
    newest = max(versions, default=0)
    return versions.get(newest), newest


def _log_switch(projection: Projection, table: str, live: str, found: Difference) -> None:
    log.info(
        "projection_switched",
        extra={
            "projection": projection.name,
            "table": table,
            "instead_of": live,
            "rows": found["rows"],
            "missing": found["missing"],
            "extra": found["extra"],
            "changed": found["changed"],
        },
    )


_TRACKED = "SELECT application_name FROM notification_tracking WHERE application_name = ANY ($1::text[])"
_TRACK = "INSERT INTO notification_tracking (application_name, notification_id) VALUES ($1, 0) ON CONFLICT DO NOTHING"
_LOCK = """
    SELECT notification_id FROM notification_tracking WHERE application_name = ANY ($1::text[])
    ORDER BY application_name FOR UPDATE
"""
_LIKE = "CREATE TABLE {table} (LIKE {live} INCLUDING ALL)"
# What LIKE does not copy. Without `STATISTICS 0`, ANALYZE keeps samples of content that erasure does not reach.
_PROPERTIES = """
    SELECT format('ALTER TABLE {table} ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget) AS statement
    FROM pg_attribute
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0
    UNION ALL
    SELECT format('ALTER TABLE {table} ALTER COLUMN %I SET (%s)', attname, array_to_string(attoptions, ', '))
    FROM pg_attribute
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attoptions IS NOT NULL
    UNION ALL
    SELECT format('ALTER TABLE {table} SET (%s)', array_to_string(reloptions, ', '))
    FROM pg_class WHERE oid = to_regclass($1) AND reloptions IS NOT NULL
"""
_SHOWN = """
    SELECT DISTINCT c.relname
    FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
    WHERE r.ev_class = to_regclass($1 || '.' || $2) AND c.relkind = 'r' AND c.relname ~ $3
"""
_SHARED = """
    SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
    INTERSECT
    SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($2) AND attnum > 0 AND NOT attisdropped
    ORDER BY attname
"""
