"""Counting unread messages: at the edges of a block, after deletions in old ones, and by the index in a large table."""

from collections.abc import Sequence
from typing import Any

import msgspec
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
        INSERT INTO {unread_bitmaps.PROJECTION.relation}
        SELECT 'room' || room, person, block, ~0::bit({EDGE}), NULL
        FROM generate_series(1, 40) room, unnest('{{"", alice, bob, carol, dave, eve}}'::text[]) person,
            generate_series(0, 99) block
    """)  # noqa: S608 - constants
    await here.connection.execute(f"ANALYZE {unread_bitmaps.PROJECTION.relation}")
    async with snapshot(here.reads, here.node.serializer, unread_bitmaps.PROJECTION) as now:
        plan = await now.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS) {unread_bitmaps._COUNTED}",
            rooms=["room1", "room2", "room3"],
            floors=[0, 50 * EDGE, 99 * EDGE + 1000],
            user="bob",
        )
        found = await unread_bitmaps.unread(now, [], {"room1": 0, "room2": 50 * EDGE + 24}, "dave")
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "tallies_v2_pkey" in text, text
    assert "Seq Scan" not in text, text
    assert found == {"room1": unread_bitmaps.Unread(0, 0), "room2": unread_bitmaps.Unread(0, 0)}


PEOPLE = [f"person{number}" for number in range(5_000)]


async def fill_block(here: World, room: str) -> None:
    """Give the first block of a room rows of many users, as mentions of all of them make them."""
    await here.connection.execute(
        f"""
        INSERT INTO {unread_bitmaps.PROJECTION.relation} SELECT $1, person, 0, NULL, ~0::bit({EDGE})
        FROM unnest($2::text[]) person
        """,  # noqa: S608 - constants
        room,
        PEOPLE,
    )
    await here.as_owner(f"VACUUM ANALYZE {unread_bitmaps.PROJECTION.relation}")


class Counting:
    """A connection that counts the buffers that the statements of `apply` touch."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.buffers = 0

    async def execute(self, query: str, *arguments: object) -> None:
        await self._explain(query, *arguments)

    async def fetch(self, query: str, *arguments: object) -> Sequence[Any]:
        await self._explain(query, *arguments)
        return await self._connection.fetch(query, *arguments)  # type: ignore[no-any-return]

    async def _explain(self, query: str, *arguments: object) -> None:
        text = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
        plan = msgspec.json.decode(text)[0]["Plan"]
        self.buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_a_deletion_costs_the_same_however_many_users_its_block_has(here: World) -> None:
    """5,000 users have been mentioned in the block; the deleted message mentions one."""
    await here.happen(OPENED, joined("bob"), said("small", "alice", "bob"), said("large", "alice", "bob"))
    await here.project()

    async def cost(number: int) -> int:
        await here.happen(deleted(number, "alice"))
        counting = Counting(here.connection)
        async with here.connection.transaction():
            await unread_bitmaps.apply(
                counting,  # type: ignore[arg-type] # the part of a connection that is used
                unread_bitmaps.PROJECTION.relation,
                (await here.log())[-1:],
            )
        return counting.buffers

    small = await cost(4)
    await fill_block(here, "general")
    large = await cost(5)
    assert large < 4 * small, (small, large)  # the index is deeper


async def test_the_deletion_of_a_damaged_message_clears_its_bits_too(here: World) -> None:
    """Nothing in the log says who was mentioned, so the rows of its block are searched."""
    await here.happen(OPENED, joined("bob"), said("one", "alice", "bob"), said("two", "alice", "bob"))
    await here.project()
    await here.happen(deleted(4, "alice"))
    await here.as_owner("ALTER TABLE stored_events DISABLE TRIGGER append_only")
    await here.as_owner(
        "UPDATE stored_events SET state = '{' WHERE originator_version = 4 AND stream = 'room:general'"
    )
    await here.project()
    found = await one_room(here, "bob")
    assert (found.unread, found.mentions) == (1, 1)
