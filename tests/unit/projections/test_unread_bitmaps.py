"""Counting unread messages: at the edges of a block, after deletions in old ones, and by the index in a large table."""

import pytest

from projections import unread_bitmaps
from projections.check import verify
from projections.engine.snapshot import snapshot
from service.domain.events import MessagePosted
from tests.support.oracles import read_models
from tests.support.oracles.projected_log import Act, World
from tests.support.projections.events import GENERAL, OPENED, deleted, joined, one_room, read, said

EDGE = unread_bitmaps.BLOCK


@pytest.fixture
async def two_blocks(here: World) -> World:
    """A room whose numbers pass the edge of a block; bob is in it, says every tenth, is mentioned in others."""
    talk = [
        said("a word", "bob") if number % 10 == 0 else said("a word", "alice", *["bob"][: number % 3])
        for number in range(4, EDGE + 20)
    ]
    await here.happen(OPENED, joined("bob"), *talk)
    return here


@pytest.mark.parametrize("level", [False, True], ids=["by the tail", "by the table"])
async def test_unread_counts_are_exact_at_block_boundaries(two_blocks: World, *, level: bool) -> None:
    here = two_blocks
    if level:
        await here.project()
    for marker in (*range(EDGE - 3, EDGE + 4), EDGE + 18, EDGE + 19):
        await here.happen(read(marker, "bob"))
        if level:
            await here.project()
        (wanted,) = read_models.summaries_of(await here.log(), "bob")
        found = await one_room(here, "bob")
        assert (found.unread, found.mentions) == (wanted.unread, wanted.mentions), marker


async def test_what_is_deleted_in_an_old_block_is_taken_off_at_once_and_for_good(two_blocks: World) -> None:
    here = two_blocks
    await here.project()
    before = await one_room(here, "bob")
    gone = (5, 7, 10, EDGE - 1, EDGE, EDGE + 2, EDGE + 19)
    by_the_tail = before
    for number in gone:
        await here.happen(deleted(number, "bob" if number % 10 == 0 else "alice"))
        (wanted,) = read_models.summaries_of(await here.log(), "bob")
        by_the_tail = await one_room(here, "bob")
        assert (by_the_tail.unread, by_the_tail.mentions) == (wanted.unread, wanted.mentions), number
    await here.project()
    after = await one_room(here, "bob")
    assert (after.unread, after.mentions) == (by_the_tail.unread, by_the_tail.mentions)
    assert after.unread == before.unread - sum(number % 10 != 0 for number in gone)
    assert (await verify(here.connection, here.node.serializer, unread_bitmaps.PROJECTION))["equal"]


def silenced(content: str, by: str, *mentions: str) -> Act:
    posted = MessagePosted(author=by, content=content, ref="ref", mentions=mentions, silenced=mentions[:1])
    return by, GENERAL, (posted,)


@pytest.mark.parametrize("level", [False, True], ids=["by the tail", "by the table"])
async def test_what_was_read_deleted_at_once_or_said_to_oneself_is_not_unread(
    two_blocks: World, *, level: bool
) -> None:
    here, last = two_blocks, EDGE + 19
    await here.project()
    for happened in (
        (said("soon gone", "alice", "bob"), deleted(last + 1, "alice")),
        (read(EDGE, "bob"), deleted(6, "alice")),  # which bob has read
        (said("a note to myself", "bob", "bob"),),
        (said("counts", "alice", "bob"), silenced("counts for carol alone", "alice", "bob", "carol")),
    ):
        await here.happen(*happened)
        if level:
            await here.project()
        (wanted,) = read_models.summaries_of(await here.log(), "bob")
        found = await one_room(here, "bob")
        assert (found.unread, found.mentions) == (wanted.unread, wanted.mentions), happened
        assert found.unread > 0


async def test_large_table_is_read_by_index_one_row_per_thousand_messages(here: World) -> None:
    await here.connection.execute(f"""
        INSERT INTO {unread_bitmaps.PROJECTION.table}
        SELECT 'room' || room, person, block, ~0::bit({EDGE}), NULL
        FROM generate_series(1, 40) room, unnest('{{"", alice, bob, carol, dave, eve}}'::text[]) person,
            generate_series(0, 99) block
    """)  # noqa: S608 - constants
    await here.connection.execute(f"ANALYZE {unread_bitmaps.PROJECTION.table}")
    async with snapshot(here.reads, here.node.serializer, unread_bitmaps.PROJECTION) as now:
        plan = await now.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS) {unread_bitmaps._COUNTED}",
            rooms=["room1", "room2", "room3"],
            floors=[0, 50 * EDGE, 99 * EDGE + 1000],
            user="bob",
        )
        found = await unread_bitmaps.unread(now, [], {"room1": 0, "room2": 50 * EDGE + 24}, "dave")
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "tallies_v1_pkey" in text, text
    assert "Seq Scan" not in text, text
    assert found == {"room1": unread_bitmaps.Unread(0, 0), "room2": unread_bitmaps.Unread(0, 0)}
