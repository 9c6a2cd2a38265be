"""A rule covers the messages before it, and no other content expires with them.

Times are moved before anything is sealed, by the owner and with the trigger off: the log's clock cannot be set.
"""

import json
from typing import Any

import msgspec
import pytest

from projections import PROJECTIONS, messages
from projections.check import verify
from service.audit.export.export import export
from service.audit.export.scope import Everything
from service.audit.privacy import retention_backfill
from service.audit.privacy.erasure import erase
from service.audit.privacy.legal_holds import place, release
from service.audit.proof.signing_keys import load
from service.domain.events import (
    ContentExpired,
    KeyReplaced,
    RoomRetentionChanged,
)
from service.domain.streams import RETENTION, person_stream, room_stream
from service.encryption.keyring import KeyRing
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from tests.support.audit.proof import offline
from tests.support.audit.retention import HOW, OTHER, ago, backdate, fill, readable, rule, run, tell
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, Node, message, node, stored
from tests.support.oracles.projected_log import world
from tests.support.servers.databases import Database


async def read(one: Node, stream: str, seq: int) -> Any:
    log = LogReader(one.pool, EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)))
    (found,) = await log.stream(stream, seq - 1, 1)
    return found.event


async def test_a_rule_covers_what_was_said_before_it_and_nothing_else(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        before = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        old_keys = await stored(database, "SELECT key_id FROM person_keys")
        (done,) = await run(one)
        assert (done.room, done.until) == ("general", ago(31).isoformat())
        assert await readable(one) == [None, None, None, "recent"]
        assert await readable(one, "other") == ["elsewhere"]
        assert (await read(one, room_stream("general"), 4)).topic == "about"
        assert (await read(one, person_stream("alice"), 1)).name == "Alice"
        said = [recorded.event for recorded in await one.log.stream(RETENTION, 0, 10)]
        replaced = sorted(event.user for event in said if isinstance(event, KeyReplaced))
        assert replaced == ["alice", "bob"]
        assert [event.until for event in said if isinstance(event, ContentExpired)] == [ago(31)]
        after = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        assert after[: len(before)] == before, "no stored byte changes"
        gone = await stored(
            database, "SELECT wrapped FROM person_keys WHERE key_id = ANY ($1)", [r[0] for r in old_keys]
        )
        assert [row["wrapped"] for row in gone] == [None, None], "what could open it is destroyed"
        assert await run(one) == [], "again there is nothing to do"
        assert await rule(one, 3) == 30
        assert len(await run(one)) == 1, "a shorter rule reaches what a longer one left"
        assert await readable(one) == [None, None, None, None]
    await sealed_logs.seal(database)
    assert await sealed_logs.first_bad(database) is None


async def test_words_that_were_carried_over_once_outlive_a_second_replacement(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        await run(one)
        await tell(one, "more", stream=OTHER)
        await rule(one, 49, "other")
        await run(one)
        assert await readable(one) == [None, None, None, "recent"]
        assert await readable(one, "other") == [None, "more"]
        assert (await read(one, person_stream("alice"), 1)).name == "Alice"
        assert (await read(one, room_stream("general"), 4)).topic == "about"
        gone = "SELECT scope FROM person_keys WHERE person = 'alice' AND wrapped IS NULL AND scope LIKE '~%'"
        assert len(await stored(database, gone)) == 2, "both keys for everything are destroyed"
    await sealed_logs.seal(database)
    assert await sealed_logs.first_bad(database) is None


async def test_read_models_keep_what_was_carried_over_twice(database: Database) -> None:
    async with world(database) as here:
        await fill(here.node, database)
        await here.project()
        await run(here.node)
        await tell(here.node, "more", stream=OTHER)
        await rule(here.node, 49, "other")
        await run(here.node)
        await here.project()
        shown = await here.connection.fetch("SELECT content FROM messages ORDER BY room_id, id")
        assert [row["content"] for row in shown] == [None, None, None, "recent", None, "more"]
        assert await here.connection.fetchval("SELECT topic FROM rooms WHERE room_id = 'general'") == "about"
        for projection in PROJECTIONS:
            report = await verify(here.connection, here.node.serializer, projection)
            assert report["equal"], report


async def test_nothing_is_replaced_before_something_is_over(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        await rule(one, 60)
        assert await run(one) == []
        assert await stored(database, "SELECT FROM carried_words") == []
        assert await readable(one) == ["old", "mended", "his old", "recent"]


async def test_who_writes_on_does_so_under_the_new_key(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        await run(one)
        late = await one.entry(
            message("late"), stream=OTHER, guard=()
        )  # the ring knows that its key is another
        assert (await one.appender.offer(late)).outcome == "appended"
        assert await readable(one, "other") == ["elsewhere", "late"]
    async with node(database) as other:
        stale = await other.entry(message("x"), stream=OTHER, guard=())
        (key,) = await stored(
            database, "SELECT key_id FROM person_keys WHERE person = 'alice' AND scope LIKE '~%'"
        )
        kept = [msgspec.structs.replace(kept, key_id=key["key_id"]) for kept in stale.stored]
        fields = {name: getattr(stale, name) for name in stale.__struct_fields__} | {"stored": tuple(kept)}
        assert (await other.appender.offer(type(stale)(**fields))).outcome == "key_gone"


async def test_a_hold_keeps_what_is_over_wherever_it_was_said_from(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        ground = {"ground": "case 7", **HOW}
        await place(one.pool, "room:general", **ground)
        assert await run(one) == []
        assert await readable(one) == ["old", "mended", "his old", "recent"]
        await place(one.pool, "user:alice", **ground)
        await release(one.pool, "room:general", **ground)
        await run(one)
        assert await readable(one) == ["old", "mended", None, "recent"]
        await release(one.pool, "user:alice", **ground)
        await run(one)
        assert await readable(one) == [None, None, None, "recent"]


async def test_a_hold_on_another_room_protects_those_who_were_in_it_wholly(database: Database) -> None:
    async with node(database) as one:
        await fill(one, database)
        await place(one.pool, "room:other", ground="case 7", **HOW)
        assert await run(one) == []
        assert await readable(one) == ["old", "mended", "his old", "recent"]
        (key,) = await stored(database, "SELECT key_id FROM person_keys WHERE person = 'alice'")
        await one.keys.of_person("alice", one.pool, retention_backfill.NEXT)
        row = await one.pool.fetchrow("SELECT * FROM replace_key($1, 'node:bad')", key["key_id"])
        assert row is not None
        assert row["outcome"] == "held", "whatever a node says that it has done"
        await release(one.pool, "room:other", ground="over", **HOW)
        await run(one)
        assert await readable(one) == [None, None, None, "recent"]


async def test_what_is_said_while_keys_are_replaced_is_carried_over_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = retention_backfill._Backfill._carry
    interrupted: list[int] = []

    async with node(database) as one:

        async def slow(self: Any, keys: Any, after: int, upto: int) -> None:
            await carry(self, keys, after, upto)
            if not interrupted:
                interrupted.append(upto)
                await tell(one, "meanwhile", stream=OTHER)

        await fill(one, database)
        monkeypatch.setattr(retention_backfill._Backfill, "_carry", slow)
        await run(one)
        assert interrupted
        assert await readable(one, "other") == ["elsewhere", "meanwhile"]
        assert await readable(one) == [None, None, None, "recent"]


async def test_interrupted_backfill_resumes_and_erased_people_stay_erased(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(database) as one:
        await fill(one, database)

        async def die(*_about: object) -> None:
            raise ConnectionAbortedError

        with monkeypatch.context() as patched:
            patched.setattr(retention_backfill._Backfill, "_retire", die)
            with pytest.raises(ConnectionAbortedError):
                await run(one)
        assert await readable(one) == ["old", "mended", "his old", "recent"], "half of it changes nothing"
        assert await stored(database, "SELECT FROM carried_words") != []
        await erase(one.pool, "alice", ground="g", **HOW)
        assert await readable(one) == [None, None, "his old", None]
        await run(one)
        assert await readable(one) == [None, None, None, None]
        assert await readable(one, "other") == [None]
        left = await stored(database, "SELECT DISTINCT person FROM person_keys WHERE wrapped IS NOT NULL")
        assert [row["person"] for row in left] == ["bob"]


@pytest.mark.parametrize("before", [True, False], ids=["projected before", "only after"])
async def test_followed_is_rebuilt_and_views_show_what_is_kept(database: Database, *, before: bool) -> None:
    async with world(database) as here:
        await fill(here.node, database)
        if before:
            await here.project()
        await run(here.node)
        shown = "SELECT content FROM messages ORDER BY room_id, id"
        if before:
            seen = [row["content"] for row in await here.connection.fetch(shown)]
            assert seen == [None, None, None, "recent", "elsewhere"], "at once, before it is purged"
        await here.project()
        assert [row["content"] for row in await here.rows(messages.PROJECTION)] == [
            *(None, None, None, "recent", "elsewhere"),
        ]
        assert [row["content"] for row in await here.connection.fetch(shown)][-2:] == ["recent", "elsewhere"]
        assert await here.connection.fetchval("SELECT topic FROM rooms WHERE room_id = 'general'") == "about"
        page = await messages.page(here.reads, here.node.serializer, "general", limit=10)
        assert [row.content for row in page.messages] == [None, None, None, "recent"]
        for projection in PROJECTIONS:
            report = await verify(here.connection, here.node.serializer, projection)
            assert report["equal"], report


async def test_an_export_shows_and_proves_what_was_carried_over(database: Database, tmp_path: Any) -> None:
    async with node(database) as one:
        await fill(one, database)
        await run(one)
    await sealed_logs.seal(database)
    out = tmp_path / "out"
    async with sealed_logs.owner(database) as owner:
        keys = await load(owner, KEY_ENCRYPTION_KEY)
        await export(
            owner, keys, EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)), Everything(), out, lambda *_: None
        )
    assert (await offline(str(out)))[0] == 0
    events = [json.loads(line) for line in (out / "events.ndjson").read_text().splitlines()]
    said = [event["fields"]["content"] for event in events if event["topic"] == "room.MessagePosted.v1"]
    assert sorted(said, key=str) == [None, None, None, "elsewhere", "recent"]


async def test_hold_placed_before_destruction_keeps_everything(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(database) as one:
        await fill(one, database)

        async def die(*_about: object) -> None:
            raise ConnectionAbortedError

        with monkeypatch.context() as patched:
            patched.setattr(retention_backfill._Backfill, "_retire", die)
            with pytest.raises(ConnectionAbortedError):
                await run(one)
        await place(one.pool, "room:other", ground="case 7", **HOW)
        assert await run(one) == [], "and nothing is said to have expired"
        assert await readable(one) == ["old", "mended", "his old", "recent"]
        await release(one.pool, "room:other", ground="over", **HOW)
        assert len(await run(one)) == 1
        assert await readable(one) == [None, None, None, "recent"]


async def test_words_that_cannot_be_opened_keep_their_key_and_stop_nobody_else(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with node(database) as one:
        await fill(one, database)
        async with sealed_logs.owner(database) as owner, owner.transaction():
            await owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
            changed = await owner.execute("""
                UPDATE stored_events SET state = (SELECT o.state FROM stored_events o WHERE o.stream = 'person:alice')
                WHERE stream = 'room:other' AND topic = 'room.MessagePosted.v1'""")
            await owner.execute("ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only")
        assert changed == "UPDATE 1"
        await run(one)
        assert "words_damaged" in [record.message for record in caplog.records]
        assert await readable(one) == ["old", "mended", None, "recent"], "his are over, hers are left alone"
        await run(one)
        (left,) = await stored(
            database, "SELECT wrapped FROM person_keys WHERE person = 'alice' AND scope = ''"
        )
        assert left["wrapped"] is not None


async def test_words_put_in_the_place_of_others_are_refused_when_read(database: Database) -> None:
    """Both are by alice, in one room and under one key: only the commitment in the sealed bytes distinguishes them."""
    async with node(database) as one:
        await one.open_room("alice")
        await tell(one, "old")
        await backdate(database, 40)
        await tell(one, "yes", "no")
        await rule(one, 30)
        await run(one)
        assert await readable(one) == [None, "yes", "no"]
        async with sealed_logs.owner(database) as owner:
            await owner.execute("""
                UPDATE carried_words c SET sealed = (SELECT sealed FROM carried_words o WHERE o.position <> c.position
                    AND o.key_id = c.key_id LIMIT 1)
                WHERE key_id IN (SELECT key_id FROM carried_words GROUP BY key_id HAVING count(*) > 1)""")
        assert await readable(one) == [None, None, None]


@pytest.mark.parametrize(
    "state", ["'not json'", r"'\x7b2261223a22ff227d'", "'[]'", "convert_to(repeat('[', 100000), 'UTF8')"]
)
async def test_a_damaged_state_with_carried_words_hides_itself_alone(database: Database, state: str) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await tell(one, "old")
        await backdate(database, 40)
        await tell(one, "yes", "no")
        await rule(one, 30)
        await run(one)
        assert await readable(one) == [None, "yes", "no"]
        async with sealed_logs.owner(database) as owner:
            await owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
            await owner.execute(
                f"UPDATE stored_events SET state = {state} WHERE notification_id IN"
                " (SELECT max(position) FROM carried_words)"
            )
        assert await readable(one) == [None, "yes", None]


async def test_a_damaged_rule_destroys_nothing_and_holds_up_no_other_room(database: Database) -> None:
    async with node(database) as one:
        for stream in (room_stream("general"), OTHER):
            await one.open_room("alice", stream=stream)
            await tell(one, "old", stream=stream)
        await backdate(database, 40)
        await rule(one, 30)
        async with sealed_logs.owner(database) as owner:
            await owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
            await owner.execute(
                "UPDATE stored_events SET state = '{' WHERE topic = $1", RoomRetentionChanged.TOPIC
            )
        await rule(one, 30, "other")
        assert [done.room for done in await run(one)] == ["other"]
        assert await readable(one) == ["old"]
        assert await readable(one, "other") == [None]
        assert await rule(one, 30) is None, "it can be put on the record again"
        await run(one)
        assert await readable(one) == [None]


async def test_a_damaged_key_holds_up_retention_for_nobody_else(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await tell(one, "old")
        await tell(one, "his old", by="bob")
        await backdate(database, 40)
        await rule(one, 30)
        async with sealed_logs.owner(database) as owner:
            await owner.execute("UPDATE person_keys SET wrapped = '\\x00' WHERE person = 'alice'")
    async with node(database) as other:
        await run(other)
        assert await readable(other) == [None, None]
        said = [recorded.event for recorded in await other.log.stream(RETENTION, 0, 10)]
        assert [event.user for event in said if isinstance(event, KeyReplaced)] == ["bob"]
