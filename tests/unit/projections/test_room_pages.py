"""Pages of a user's rooms: what is read is about what fits, and no room is lost between two pages."""

from itertools import chain

import pytest

from projections import rooms
from projections.rooms import ENTRY_BYTES, FEW
from service.domain.events import MemberJoined, MessagePosted, RoomOpened, RoomTopicChanged
from tests.support.oracles.projected_log import Act, World

ROOMS = [f"room:r{number:02}" for number in range(60)]
ROOM_BYTES = len("Room") + 1_000 + ENTRY_BYTES


def opened(stream: str) -> Act:
    posted = MessagePosted(author="alice", content="\u6f22" * 500, ref="r")
    joins = MemberJoined(user="alice", role="owner"), MemberJoined(user="bob")
    return "alice", stream, (RoomOpened(name="Room"), *joins, RoomTopicChanged(topic="t" * 1_000), posted)


@pytest.fixture
async def many(here: World) -> World:
    await here.happen(*map(opened, ROOMS))
    await here.project()
    return here


async def page(here: World, contents: int, rest: int, after: str | None = None) -> rooms.Summaries:
    return await rooms.summaries(
        here.reads, here.node.serializer, "bob", after=after, limit=50, budget=(contents, rest)
    )


async def all_pages(here: World, contents: int, rest: int) -> list[list[str]]:
    pages: list[list[str]] = []
    more, after = True, None
    while more:
        found = await page(here, contents, rest, after)
        pages.append([f"room:{row.room_id}" for row in found.rows])
        more, after = found.has_more, found.rows[-1].room_id
    return pages


async def test_no_more_rooms_are_read_than_fit_and_one(many: World) -> None:
    pages = await all_pages(many, 10**6, 25 * ROOM_BYTES)
    assert [*chain(*pages)] == ROOMS
    assert [len(each) for each in pages[:2]] == [26, 26]


async def test_no_more_last_messages_are_read_than_fit_and_one(many: World) -> None:
    found = await page(many, 10 * 1_500, 10**6)
    assert [row.last_message is not None for row in found.rows] == [True] * 11 + [False] * 39
    assert found.has_more
    assert all(row.unread == 1 for row in found.rows)


async def test_few_rooms_are_all_read(many: World) -> None:
    last = await page(many, 0, 0, after=ROOMS[-FEW - 1].removeprefix("room:"))
    assert len(last.rows) == FEW
    assert not last.has_more
    assert all(row.last_message for row in last.rows)


async def test_no_room_is_lost_where_the_table_lags(many: World) -> None:
    """Rooms are larger in the table than they are now, and one that it does not have yet follows."""
    shorter = [("alice", stream, (RoomTopicChanged(topic=""),)) for stream in ROOMS]
    await many.happen(*shorter, opened("room:r99"))
    pages = await all_pages(many, 10**6, 25 * ROOM_BYTES)
    assert [*chain(*pages)] == [*ROOMS, "room:r99"]
    found = await page(many, 10**6, 25 * ROOM_BYTES)
    assert all(row.topic is None for row in found.rows)


async def test_a_new_message_is_shown_where_that_of_the_table_did_not_fit(many: World) -> None:
    await many.happen(("alice", ROOMS[-20], (MessagePosted(author="alice", content="new", ref="s"),)))
    found = await page(many, 0, 10**6)
    (row,) = [row for row in found.rows if f"room:{row.room_id}" == ROOMS[-20]]
    assert row.last_message is not None
    assert row.last_message.content == "new"
