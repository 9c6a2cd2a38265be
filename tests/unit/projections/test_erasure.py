"""The read models after an erasure: the content is hidden at once, and leaves the tables as the log is followed."""

import asyncio

import msgspec
import pytest

from projections import PROJECTIONS, messages, rooms, unread_bitmaps
from projections.check import verify
from projections.engine import runner
from service.audit.privacy.erasure import erase
from service.domain.events import RoomTopicChanged
from tests.support.oracles.projected_log import Act, World
from tests.support.projections.events import GENERAL, OPENED, deleted, joined, one_room, page, said
from tests.support.waiting import until

TOPIC: Act = ("alice", GENERAL, (RoomTopicChanged(topic="my topic"),))


@pytest.mark.parametrize("projected", [True, False], ids=["in the table", "in the tail"])
async def test_no_query_shows_erased_content_even_before_projection(here: World, *, projected: bool) -> None:
    await here.happen(OPENED, joined("bob"), said("my words"), said("other words", "bob"), TOPIC)
    if projected:
        await here.project()
    await erase(here.node.pool, "alice", ground="g", by="root", deadline=20)
    found = await page(here)
    assert [(row.id, row.content) for row in found.messages] == [(4, None), (5, "other words")]
    assert (await one_room(here, "bob")).topic is None
    view = await here.connection.fetch("SELECT content FROM messages ORDER BY id")
    assert [row["content"] for row in view] == ([None, "other words"] if projected else [])
    assert [row["topic"] for row in await here.connection.fetch("SELECT topic FROM rooms")] == (
        [None] if projected else []
    )


@pytest.mark.parametrize("before", ["nothing", "the words", "all"])
async def test_followed_is_rebuilt_after_an_erasure_wherever_the_tables_stood(
    here: World, before: str
) -> None:
    await here.happen(OPENED, joined("bob"), said("my words"), said("other words", "bob"), TOPIC)
    if before != "nothing":
        await here.project()
    await erase(here.node.pool, "alice", ground="g", by="root", deadline=20)
    if before == "all":
        await here.project()
    await here.happen(said("later words", "bob"))
    await here.project()
    for projection in PROJECTIONS:
        report = await verify(here.connection, here.node.serializer, projection)
        assert report["equal"], report
    table = await here.rows(messages.PROJECTION)
    assert [row["content"] for row in table] == [None, "other words", "later words"]
    assert [row["topic"] for row in await here.rows(rooms.PROJECTION)] == [None]


async def test_a_projector_buries_the_keys_of_who_is_erased(here: World) -> None:
    await here.happen(OPENED, said("my words"))
    await here.project()
    await erase(here.node.pool, "alice", ground="g", by="root", deadline=20)
    assert here.node.keys._by_id
    await here.project()
    assert not here.node.keys._by_id


async def test_the_samples_that_analyze_keeps_hold_no_words(here: World) -> None:
    await here.happen(OPENED, TOPIC, *(said("my words") for _ in range(50)))
    await here.project()
    await here.as_owner("ANALYZE")
    query = "SELECT s::text FROM pg_stats s WHERE schemaname = 'public' AND s::text ~ 'my (words|topic)'"
    assert await here.connection.fetch(query) == []


async def test_taking_words_out_of_a_large_table_may_take_long(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DEADLINE", 0.5)
    slowly = f"WITH waited AS MATERIALIZED (SELECT pg_sleep(1.5)) {messages.PROJECTION.forget}"
    slow = msgspec.structs.replace(messages.PROJECTION, forget=slowly.replace("WHERE", "FROM waited WHERE"))
    await here.happen(OPENED, said("my words"))
    await here.project()
    await erase(here.node.pool, "alice", ground="g", by="root", deadline=20)
    task = asyncio.create_task(here.runner(slow).run())
    query = "SELECT bool_and(content IS NULL) FROM messages_v2"
    await until(lambda: here.connection.fetchval(query))
    task.cancel()
    assert [row["content"] for row in await here.rows(messages.PROJECTION)] == [None]


@pytest.mark.parametrize("before", ["nothing", "the words", "all"])
async def test_messages_of_an_erased_author_are_not_unread(here: World, before: str) -> None:
    talk = [
        said("hello", "alice"),
        said("@bob", "alice", "bob"),
        said("more", "alice"),
        said("stays", "carol", "bob"),
    ]
    await here.happen(OPENED, joined("bob"), joined("carol"), *talk)
    assert ((row := await one_room(here, "bob")).unread, row.mentions) == (4, 2)
    if before != "nothing":
        await here.project()
    await erase(here.node.pool, "alice", ground="g", by="root", deadline=20)
    if before == "all":
        await here.project()
    assert ((row := await one_room(here, "bob")).unread, row.mentions) == (1, 1)
    await here.happen(deleted(5, "carol"), deleted(7, "carol"))
    assert ((row := await one_room(here, "bob")).unread, row.mentions) == (1, 1)
    await here.happen(deleted(8, "carol"))
    assert ((row := await one_room(here, "bob")).unread, row.mentions) == (0, 0)
    await here.project()
    assert ((row := await one_room(here, "bob")).unread, row.mentions) == (0, 0)
    report = await verify(here.connection, here.node.serializer, unread_bitmaps.PROJECTION)
    assert report["equal"], report
