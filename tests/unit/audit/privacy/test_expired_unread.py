"""Unread counts after a room's retention: what no one can read does not count."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from projections import rooms, unread_bitmaps
from projections.check import verify
from service.domain.events import MessageEdited, MessagePosted
from service.domain.retention import scope
from service.domain.streams import room_stream
from tests.support.audit.retention import ago, backdate, fill, rule, run, say, tell
from tests.support.eventstore.log_node import Node
from tests.support.oracles.projected_log import World, world
from tests.support.projections.events import GENERAL, OPENED, deleted, joined
from tests.support.servers.databases import Database


@pytest_asyncio.fixture
async def here(database: Database) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


async def unread(here: World, user: str) -> tuple[int, int]:
    row = (await rooms.summaries(here.reads, here.node.serializer, user)).rows[0]
    return row.unread, row.mentions


async def is_equal(here: World) -> None:
    report = await verify(here.connection, here.node.serializer, unread_bitmaps.PROJECTION)
    assert report["equal"], report


@pytest.mark.parametrize("before", ["nothing", "the messages", "all"])
async def test_expired_messages_are_not_unread(here: World, before: str) -> None:
    await here.happen(OPENED, joined("bob"), joined("carol"))
    await rule(here.node, 30)
    for content, day, by in (("old", 40, "alice"), ("older", 50, "carol"), ("fresh", 3, "alice")):
        await say(here.node, content, ago(day), by)
    assert await unread(here, "bob") == (3, 0)
    if before != "nothing":
        await here.project()
    (expiry,) = await run(here.node)
    assert expiry.keys == 2
    if before == "all":
        await here.project()
    for user, count in (("bob", 1), ("carol", 1), ("alice", 0)):
        assert await unread(here, user) == (count, 0)
    await here.happen(deleted(6))
    assert await unread(here, "bob") == (1, 0)
    await here.project()
    assert await unread(here, "bob") == (1, 0)
    await is_equal(here)


@pytest.mark.parametrize("before", ["nothing", "the messages", "all"])
async def test_messages_from_before_the_rule_expire_too(here: World, database: Database, before: str) -> None:
    """`fill` posts three messages 50 days ago, one of them edited then, and one 5 days ago."""
    await fill(here.node, database)
    if before != "nothing":
        await here.project()
    assert await unread(here, "bob") == (3, 0)
    await run(here.node)
    if before == "all":
        await here.project()
    assert await unread(here, "bob") == (1, 0)
    await here.project()
    assert await unread(here, "bob") == (1, 0)
    await is_equal(here)


@pytest.mark.parametrize("before", ["nothing", "the messages", "all"])
async def test_a_message_counts_while_its_last_edit_can_be_read(here: World, before: str) -> None:
    await here.happen(OPENED, joined("bob"))
    await rule(here.node, 30)
    for content in ("edited in time", "edited too late"):
        await say(here.node, content, ago(40))
    await edit(here.node, 5, "new")
    if before != "nothing":
        await here.project()
    await run(here.node)
    if before == "all":
        await here.project()
    await edit(here.node, 6, "new")
    assert await unread(here, "bob") == (1, 0)
    await here.project()
    assert await unread(here, "bob") == (1, 0)
    await is_equal(here)


async def test_mentions_expire_with_their_messages(here: World, database: Database) -> None:
    await here.happen(OPENED, joined("bob"))
    old = MessagePosted(author="alice", content="@bob", ref="1", mentions=("bob",))
    await here.happen(("alice", GENERAL, (old,)))
    await backdate(database, 40)
    await rule(here.node, 30)
    await tell(here.node, "recent")
    assert await unread(here, "bob") == (2, 1)
    await here.project()
    await run(here.node)
    assert await unread(here, "bob") == (1, 0)
    await here.project()
    assert await unread(here, "bob") == (1, 0)
    await is_equal(here)


async def test_each_expiry_concerns_the_events_before_it(here: World) -> None:
    await here.happen(OPENED, joined("bob"))
    await rule(here.node, 30)
    await say(here.node, "old", ago(40))
    await here.project()
    await run(here.node)
    await say(here.node, "older, and found later", ago(60))
    await here.project()
    assert await unread(here, "bob") == (1, 0)
    await run(here.node)
    assert await unread(here, "bob") == (0, 0)
    await here.project()
    await is_equal(here)


async def edit(one: Node, message: int, content: str) -> None:
    """Edit a message under the key of the present day."""
    event = MessageEdited(message=message, content=content)
    key = await one.keys.of_person("alice", one.pool, scope("general", ago(0)))
    entry = await one.entry(event, by="alice", stream=room_stream("general"), guard=())
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    stored = (one.serializer.to_stored(event, room_stream("general"), key),)
    assert (await one.appender.offer(type(entry)(**fields | {"stored": stored}))).outcome == "appended"
