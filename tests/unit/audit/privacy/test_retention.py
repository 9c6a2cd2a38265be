"""Retention: what is over is made unreadable on the record, what is not over is not, and the rest is left alone."""

import pytest

from projections import PROJECTIONS, messages
from projections.check import verify
from service.audit.privacy.erasure import erase
from service.audit.privacy.legal_holds import place, release
from service.domain.events import ContentExpired, RoomRetentionChanged
from service.domain.retention import scope
from service.domain.streams import RETENTION, room_stream
from service.encryption.keyring import KeyRing
from service.errors import AccountErased, RoomNotFound
from tests.support.audit.retention import HOW, ago, readable, rule, run, say
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, node, stored
from tests.support.oracles.projected_log import World, world
from tests.support.servers.databases import Database


async def test_what_is_over_cannot_be_read_and_what_is_not_can(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await say(one, "before the rule", None)
        assert await rule(one, 30) is None
        for day, by in ((400, "alice"), (31, "bob"), (31, "alice"), (30, "alice"), (0, "bob")):
            await say(one, f"{day} days ago", ago(day), by)
        before = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        (done,) = await run(one)
        assert (done.room, done.until, done.keys) == ("general", ago(31).isoformat(), 3)
        assert await readable(one) == ["before the rule", None, None, None, "30 days ago", "0 days ago"]
        assert await run(one) == [], "again there is nothing to do, and nothing is recorded"
        (said,) = await one.log.stream(RETENTION, 0, 10)
        assert said.event == ContentExpired(room="general", until=ago(31), days=30)
        assert (said.by, said.position) == ("os:root", done.position)
        after = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        assert after[:-1] == before, "no stored byte changes"
    await sealed_logs.seal(database)
    assert await sealed_logs.first_bad(database) is None


async def test_the_rule_is_on_the_record_and_each_room_has_its_own(database: Database) -> None:
    async with node(database) as one:
        for room in ("general", "general-2", "genera"):
            await one.open_room("alice", stream=room_stream(room))
            await say(one, room, ago(20), room=room)
        assert [await rule(one, 10), await rule(one, 10), await rule(one, None)] == [None, 10, 10]
        assert await run(one) == [], "for ever"
        assert await rule(one, 10) is None
        assert await rule(one, 90, "general-2") is None
        assert [done.room for done in await run(one)] == ["general"]
        assert [await readable(one, room) for room in ("general", "general-2", "genera")] == [
            [None],
            ["general-2"],
            ["genera"],
        ]
        log = await one.log.stream(GENERAL, 0, 100)
        rules = [r.event.days for r in log if isinstance(r.event, RoomRetentionChanged)]
        assert rules == [10, None, 10]
        assert (await one.log.room("general")).retention == 10
        with pytest.raises(RoomNotFound):
            await rule(one, 10, "nowhere")


async def test_a_room_that_keeps_messages_for_centuries_stops_no_other(database: Database) -> None:
    async with node(database) as one:
        for room in ("general", "general-2"):
            await one.open_room("alice", stream=room_stream(room))
            await rule(one, 10, room)
            await say(one, room, ago(20), room=room)
        await rule(one, 99_999)
        assert [done.room for done in await run(one)] == ["general-2"]
        assert [await readable(one, room) for room in ("general", "general-2")] == [["general"], [None]]


@pytest.mark.parametrize(("days", "day"), [(30, 30), (30, 0), (None, 400)])
async def test_the_database_lets_nobody_expire_what_is_not_over(
    database: Database, days: int | None, day: int
) -> None:
    """The recorded rule and the database's clock decide, for any day that a node passes."""
    async with node(database) as one:
        await one.open_room("alice")
        await rule(one, days)
        await say(one, "stays", ago(day))
        query = "SELECT * FROM expire_content('general', $1, 'node:bad')"
        row = await one.pool.fetchrow(query, ago(day))
        assert row is not None
        assert row["outcome"] == "early"
        assert await readable(one) == ["stays"]


async def test_a_hold_keeps_what_is_over_until_it_is_released(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await rule(one, 30)
        for by in ("alice", "bob"):
            await say(one, by, ago(50), by)
        ground = {"ground": "case 7", **HOW}
        await place(one.pool, "room:general", **ground)
        assert await run(one) == []
        assert await readable(one) == ["alice", "bob"]
        await place(one.pool, "user:alice", **ground)
        await release(one.pool, "room:general", **ground)
        assert [done.keys for done in await run(one)] == [1]
        assert await readable(one) == ["alice", None]
        await release(one.pool, "user:alice", **ground)
        assert [done.keys for done in await run(one)] == [1]
        assert await readable(one) == [None, None]


async def test_an_erasure_destroys_the_keys_of_every_day_too(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await rule(one, 30)
        for day in (0, 1):
            await say(one, "hers", ago(day))
        await say(one, "his", ago(1), "bob")
        erased = await erase(one.pool, "alice", ground="g", **HOW)
        assert erased.keys == 3, "the one for everything, and one for each day"
        assert await readable(one) == [None, None, "his"]
        for day in (0, 5):
            with pytest.raises(AccountErased):
                await KeyRing(KEY_ENCRYPTION_KEY).of_person("alice", one.pool, scope("general", ago(day)))


async def test_keys_in_memory_are_buried_with_what_has_expired(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await rule(one, 30)
        for day in (50, 1):
            await say(one, "x", ago(day))
        assert len(one.keys._by_id) == len(one.keys._by_owner) == 3
        await run(one)
        await one.serializer.evict_destroyed(await one.log.stream(RETENTION, 0, 10), one.pool)
        assert {*one.keys._by_owner} == {("alice", ""), ("alice", scope("general", ago(1)))}
        assert len(one.keys._by_id) == 2


@pytest.mark.parametrize("before", [True, False], ids=["projected before", "only after"])
async def test_followed_is_rebuilt_after_an_expiry(database: Database, *, before: bool) -> None:
    async with world(database) as here:
        await fill(here)
        if before:
            await here.project()
        await run(here.node)
        await here.project()
        for projection in PROJECTIONS:
            report = await verify(here.connection, here.node.serializer, projection)
            assert report["equal"], report
        assert [row["content"] for row in await here.rows(messages.PROJECTION)] == ["kept", None, "new"]


async def fill(here: World) -> None:
    one = here.node
    await one.open_room("alice", "bob")
    await say(one, "kept", None)
    await rule(one, 30)
    await say(one, "old", ago(50))
    await say(one, "new", ago(2), "bob")
