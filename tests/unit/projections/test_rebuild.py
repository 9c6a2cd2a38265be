"""A read model is rebuilt and put in its place while clients read it, and no reader sees anything between."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from projections import PROJECTIONS, activity, messages, rooms, unread_bitmaps
from projections.check import verify
from projections.engine import rebuild
from projections.engine.log_window import tracked
from projections.engine.projection import SCHEMA, Projection, relation
from projections.engine.projector import Projector
from projections.engine.runner import Runner
from projections.engine.snapshot import snapshot
from service.domain.events import Recorded
from service.errors import ProjectionBehind
from tests.support.oracles.projected_log import World
from tests.support.projections.events import OPENED, said
from tests.support.projections.runners import equal, level, running
from tests.support.waiting import until


async def _apply_loudly(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """Fill the next version's rows: those of this version, with one more column."""
    await rooms.PROJECTION.apply(connection, table, batch)
    await connection.execute(
        f"UPDATE {table} SET loud = upper(name) WHERE loud IS DISTINCT FROM upper(name)"  # noqa: S608 - our name
    )


NEXT = msgspec.structs.replace(
    rooms.PROJECTION,
    version=rooms.PROJECTION.version + 1,
    apply=_apply_loudly,
    create=f"""
        CREATE TABLE {{table}} (LIKE {rooms.PROJECTION.relation} INCLUDING ALL);
        ALTER TABLE {{table}} ADD loud text
    """,
    views="""
        CREATE OR REPLACE VIEW read_models.rooms AS
        SELECT room_id, name, visibility, created_at, created_by, head, last_message_id, last_message_at, topic,
            archived, loud
        FROM {table}
    """,
)
"""A version of `rooms` that only this test knows."""


async def shown(here: World) -> list[str]:
    return [
        row["relname"]
        for row in await here.connection.fetch(
            rebuild._SHOWN, SCHEMA, "rooms", "^rooms_v[0-9]+$"
        )  # the rule is the query's
    ]


class Reader:
    """A reader that polls the views: every read has to find all that was there before it."""

    def __init__(self, here: World) -> None:
        self._here = here
        self.looks = 0
        self.faults: list[str] = []

    async def read(self) -> None:
        connection = await asyncpg.connect(self._here.database.superuser_url)
        try:
            head = 0
            while True:
                row = await connection.fetchrow(
                    "SELECT count(*) AS n, max(head) AS head FROM analytics.rooms"
                )
                assert row is not None
                if row["n"] != 1 or row["head"] < head:
                    self.faults.append(str(dict(row)))
                head, self.looks = row["head"], self.looks + 1
                await asyncio.sleep(0)
        finally:
            await connection.close()


async def test_new_version_is_built_compared_and_switched_while_serving(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "onrecord.project")
    await here.happen(OPENED, *(said(str(number)) for number in range(20)))
    present, reader = here.runner(rooms.PROJECTION), Reader(here)
    async with running(here, present):
        await level(here, present)
        reading = asyncio.create_task(reader.read())
        await until(lambda: reader.looks > 3 or reading.done())
        newer = here.runner(NEXT)
        async with running(here, newer):
            for number in range(20):
                await here.happen(said(f"meanwhile {number}"))
            await until(lambda: _is(here, "rooms_v3"))
            await here.happen(said("after"))
            await level(here, present, newer)  # a reader of the old table finds it current
            looked = reader.looks
            await until(lambda: reader.looks > looked + 3 or reading.done())
        assert not reading.done()
        reading.cancel()
        await asyncio.wait([reading])
    assert reader.faults == []
    assert await equal(here, NEXT, rooms.PROJECTION)
    assert await here.connection.fetchval("SELECT loud FROM read_models.rooms") == (await _name(here)).upper()
    (line,) = [vars(record) for record in caplog.records if record.message == "projection_switched"]
    assert (line["table"], line["instead_of"], line["rows"]) == ("rooms_v3", "rooms_v2", 1)
    assert (line["missing"], line["extra"], line["changed"]) == (0, 0, 0)


async def test_a_new_version_waits_for_no_projector_of_the_old_one(here: World) -> None:
    await here.happen(OPENED, said("one"))
    await here.project(rooms.PROJECTION)
    await here.happen(said("two"))  # no worker updates the old table any more
    newer = here.runner(NEXT)
    async with running(here, newer):
        await until(lambda: _is(here, "rooms_v3"))
        await level(here, newer)
    assert await tracked(here.connection, "rooms_v2") < await tracked(here.connection, "rooms_v3")


async def test_an_older_projector_that_starts_again_does_not_switch_back(here: World) -> None:
    await here.happen(OPENED)
    await here.project(rooms.PROJECTION)
    newer, older = here.runner(NEXT), here.runner(rooms.PROJECTION)
    async with running(here, newer):
        await until(lambda: _is(here, "rooms_v3"))
    async with running(here, older):
        await here.happen(said("one"))
        await level(here, older)
    assert await shown(here) == ["rooms_v3"]


async def test_a_version_that_is_not_begun_yet_is_said_to_be_behind(here: World) -> None:
    await here.happen(OPENED)
    with pytest.raises(ProjectionBehind):
        async with snapshot(here.reads, here.node.serializer, NEXT):
            pass


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
async def test_modified_read_model_is_rebuilt_on_request(
    here: World, projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.engine.projector.REQUEST_INTERVAL", 0.05)
    await here.happen(OPENED, *(said(str(number)) for number in range(20)))
    await here.project()
    if projection in (messages.PROJECTION, rooms.PROJECTION, activity.PROJECTION, unread_bitmaps.PROJECTION):
        await here.connection.execute(f"DELETE FROM {projection.relation}")  # noqa: S608 - our name
        assert not await equal(here, projection)
    asking = "INSERT INTO notification_tracking (application_name, notification_id) VALUES ($1, 0)"
    await here.connection.execute(asking, rebuild.replacement(projection))
    following = asyncio.create_task(Projector(here.connect, here.node.serializer, [projection], 0.05).run())
    await until(lambda: _is_mended(here, projection))
    await here.happen(said("after"))
    await until(lambda: _is_level(here, projection))
    following.cancel()
    await asyncio.wait([following])
    assert await equal(here, projection)
    assert (
        await here.connection.fetchval("SELECT to_regclass($1)", relation(rebuild.replacement(projection)))
        is None
    )


async def test_rows_are_replaced_beneath_readers_and_only_where_they_differ(here: World) -> None:
    await here.happen(OPENED, *(said(str(number)) for number in range(20)))
    await here.project()
    table = messages.PROJECTION.relation
    await here.connection.execute(f"UPDATE {table} SET content = 'forged' WHERE id = 5")  # noqa: S608 - our name
    before = dict(await here.connection.fetch(f"SELECT id, ctid::text FROM {table}"))  # noqa: S608 - our name
    asking = "INSERT INTO notification_tracking (application_name, notification_id) VALUES ($1, 0)"
    await here.connection.execute(asking, rebuild.replacement(messages.PROJECTION))
    name = rebuild.replacement(messages.PROJECTION)
    await Runner(here.connect, here.node.serializer, messages.PROJECTION, 0.05, name).run()
    after = dict(await here.connection.fetch(f"SELECT id, ctid::text FROM {table}"))  # noqa: S608 - our name
    assert {number for number in before if before[number] != after[number]} == {5}
    report = await verify(here.connection, here.node.serializer, messages.PROJECTION)
    assert report["equal"]


PROPERTIES = """
    SELECT 'column' AS kind, attname::text AS name,
        to_jsonb(a) - '{attrelid,attnum,attndims,attmissingval}'::text[] AS value
    FROM pg_attribute a WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'default', a.attname, to_jsonb(pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = to_regclass($1)
    UNION ALL
    SELECT 'index', replace(pg_get_indexdef(indexrelid), $2, ''), to_jsonb(i) - '{indexrelid,indrelid}'::text[]
    FROM pg_index i WHERE indrelid = to_regclass($1)
    UNION ALL
    SELECT 'constraint', pg_get_constraintdef(oid), to_jsonb(contype::text)
    FROM pg_constraint WHERE conrelid = to_regclass($1)
    UNION ALL
    SELECT 'statistics', replace(pg_get_statisticsobjdef(oid), $2, ''), 'null'
    FROM pg_statistic_ext WHERE stxrelid = to_regclass($1)
    UNION ALL
    SELECT 'trigger', pg_get_triggerdef(oid), 'null' FROM pg_trigger
    WHERE tgrelid = to_regclass($1) AND NOT tgisinternal
    UNION ALL
    SELECT 'policy', polname, 'null' FROM pg_policy WHERE polrelid = to_regclass($1)
    UNION ALL
    SELECT 'table', key, value FROM pg_class c, jsonb_each(to_jsonb(c)) WHERE c.oid = to_regclass($1) AND key = ANY (
        '{relowner,relam,reltablespace,relpersistence,relreplident,relrowsecurity,relforcerowsecurity,reloptions}')
"""
"""Every property of a table `$1` but its privileges, its name and `attndims`, which means nothing to PostgreSQL."""


async def _properties(here: World, table: str) -> set[tuple[str, str, str]]:
    rows = await here.connection.fetch(PROPERTIES, relation(table), table)
    return {(row["kind"], _without_name(row["name"]), row["value"]) for row in rows}


def _without_name(definition: str) -> str:
    """Return an index's definition without its name, which PostgreSQL makes from the table's."""
    return re.sub(r"INDEX \w+ ON", "INDEX ON", definition)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
async def test_a_table_being_rebuilt_has_every_property_of_its_twin(
    here: World, projection: Projection
) -> None:
    connection = await asyncpg.connect(here.database.superuser_url)
    await rebuild.begin(connection, projection, rebuild.replacement(projection))
    await connection.close()
    twin = await _properties(here, projection.table)
    assert await _properties(here, rebuild.replacement(projection)) == twin
    personal = {name for kind, name, value in twin if kind == "column" and '"attstattarget": 0' in value}
    assert personal or not (projection.forget or projection.expire)


async def _is(here: World, table: str) -> bool:
    return await shown(here) == [table]


async def _is_mended(here: World, projection: Projection) -> bool:
    return await rebuild.requested(here.connection, [projection]) == []


async def _is_level(here: World, projection: Projection) -> bool:
    return await tracked(here.connection, projection.table) == await here.head()


async def _name(here: World) -> str:
    return str(await here.connection.fetchval("SELECT name FROM rooms"))
