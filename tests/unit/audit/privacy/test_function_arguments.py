"""No function of the database believes what its arguments say of each other.

Each test has the login of a node, and calls each function that it may with arguments that do not go together: an id
and the name of something else, a key and the words of another person, a day and the rule of another room. Nothing is
destroyed, held, hidden or recorded by that.
"""

import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audit.privacy import retention_backfill
from service.domain.events import (
    ContentExpired,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    PersonErased,
    PersonNamed,
    RoomRetentionChanged,
    RoomTopicChanged,
)
from service.domain.retention import earlier, scope
from service.domain.streams import HOLDS, RETENTION, person_stream, stream_id
from service.encryption.keyring import KeyRing
from service.eventstore.entries import APPEND
from service.eventstore.serializer import EventSerializer
from tests.support.audit.retention import OTHER, TODAY, ago, backdate, readable, rule, run, say, tell
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, Node, node, stored
from tests.support.servers.databases import Database

REFUSALS = (
    asyncpg.InvalidParameterValueError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.NotNullViolationError,
    asyncpg.InvalidTransactionStateError,
)

STATE = (
    "SELECT * FROM stored_events ORDER BY notification_id",
    "SELECT * FROM person_keys ORDER BY key_id",
    "SELECT * FROM carried_words ORDER BY position, key_id",
    "SELECT * FROM holds ORDER BY subject",
    "SELECT * FROM refs ORDER BY user_id, ref",
)


class World:
    """Two people in two rooms that keep words for 365 days and for 1, and each key that they have there."""

    def __init__(self, one: Node, database: Database) -> None:
        self.one = one
        self.database = database
        self.keys: dict[tuple[str, str], UUID] = {}

    async def fill(self) -> None:
        one = self.one
        for room in (GENERAL, OTHER):
            await one.open_room("alice", "bob", stream=room)
        for person in ("alice", "bob"):
            await one.append(PersonNamed(user=person, name=person), stream=person_stream(person), by=person)
            for room in (GENERAL, OTHER):
                await tell(one, f"{person} in {room}", by=person, stream=room)
        await one.append(RoomTopicChanged(topic="about"), guard=())
        await backdate(self.database, 10)
        await rule(one, 365)
        await rule(one, 1, "other")
        for person, room in itertools.product(("alice", "bob"), ("general", "other")):
            await say(one, f"{person} today in {room}", TODAY, person, room)
            await say(one, f"{person} then in {room}", ago(5), person, room)
            await one.keys.of_person(person, one.pool, earlier(room, ago(10)))
        for person in ("alice", "bob"):
            await one.keys.of_person(person, one.pool, retention_backfill.NEXT)
        rows = await stored(self.database, "SELECT person, scope, key_id FROM person_keys")
        self.keys = {(row["person"], row["scope"]): row["key_id"] for row in rows}

    async def state(self) -> list[list[tuple[Any, ...]]]:
        return [[tuple(row) for row in await stored(self.database, query)] for query in STATE]

    async def ask(self, query: str, *arguments: Any) -> str:
        """Return what a function answers to the login of a node, or that it refuses."""
        try:
            row = await self.one.pool.fetchrow(query, *arguments)
        except REFUSALS:
            return "refused"
        return str(row[0]) if row is not None else "none"


@asynccontextmanager
async def world(database: Database) -> AsyncIterator[World]:
    async with node(database) as one:
        made = World(one, database)
        await made.fill()
        yield made


# What is appended


def entry(stream: str, user: str, topic: str, subject: str, state: bytes, key: UUID | None) -> list[Any]:
    """Return what `chat_append` is given for one event."""
    return [
        [stream], [stream_id(stream)], [user], [f"~{uuid4()}"], [b""], [0], [""], [True], [None], [1],
        [topic], [subject], [state], [key],
    ]  # fmt: skip


async def test_a_stream_has_one_id_and_an_id_one_stream(database: Database) -> None:
    async with world(database) as here:
        before = await here.state()
        names = [GENERAL, OTHER, "room:new", person_stream("bob"), "session:bob", "reader:general:bob", ""]
        ids = [*map(stream_id, names), uuid4()]
        for name, id_ in itertools.product(names, ids):
            if stream_id(name) == id_:
                continue
            given_ = entry(name, "alice", "room.RoomArchived.v1", "settings", b"{}", None)
            given_[1] = [id_]
            assert await here.ask(APPEND, *given_) == "refused", (name, id_)
        assert await here.state() == before


async def test_bounds_of_arrays_do_not_part_a_stream_from_its_id(database: Database) -> None:
    """With a lower bound of its own, an array has other elements under the same subscripts."""
    query = APPEND.replace("$1,", "$1::text::text[],").replace("$2,", "$2::text::uuid[],")
    async with world(database) as here:
        before = await here.state()
        good = entry(GENERAL, "alice", "room.RoomArchived.v1", "settings", b"{}", None)
        for bounds in ("[0:1]", "[2:3]", "[1:2]"):
            given_ = [f'{bounds}={{"{GENERAL}","{OTHER}"}}', f"{{{stream_id(OTHER)}}}", *good[2:]]
            assert await here.ask(query, *given_) == "refused", bounds
        given_ = [[*column] for column in good]
        given_[10] = ["room.RoomArchived.v1", "hold.HoldPlaced.v1"]
        assert await here.ask(APPEND, *given_) == "refused"
        assert await here.state() == before


async def test_only_the_functions_record_holds_expiry_and_erasure(database: Database) -> None:
    async with world(database) as here:
        before = await here.state()
        topics = [
            *(cls.TOPIC for cls in (PersonErased, HoldPlaced, HoldReleased, ContentExpired, KeyReplaced)),
            "person.PersonErased.v2",
        ]
        for topic, stream in itertools.product(topics, (GENERAL, person_stream("bob"), HOLDS, RETENTION)):
            given_ = entry(stream, "alice", topic, "user:bob", b"{}", None)
            assert await here.ask(APPEND, *given_) == "refused", (topic, stream)
        for stream in (HOLDS, RETENTION):
            given_ = entry(stream, "alice", "audit.AuditRead.v1", "log", b"{}", None)
            assert await here.ask(APPEND, *given_) == "refused"
        assert await here.state() == before


@pytest.mark.parametrize(
    "state", [b"", b"[]", b"\xff", b'{"days":0}', b'{"days":-1}', b'{"days":"7"}', b"{ }"]
)
async def test_a_rule_that_cannot_be_read_is_refused(database: Database, state: bytes) -> None:
    """One on the record would stop retention in every room."""
    async with world(database) as here:
        before = await here.state()
        topic = RoomRetentionChanged.TOPIC
        assert await here.ask(APPEND, *entry(GENERAL, "alice", topic, "settings", state, None)) == "refused"
        assert await here.ask(APPEND, *entry(GENERAL, "alice", topic, "user:x", b"{}", None)) == "refused"
        assert await here.state() == before


async def test_a_key_seals_what_its_person_says_in_its_room_on_its_day(database: Database) -> None:
    """Under any other key, texts would expire or be erased together with those of another person or room."""
    async with world(database) as here:
        topic, refused = "room.MessagePosted.v1", 0
        before = await here.state()
        for stream, (owner_, scope_), user in itertools.product(
            (GENERAL, OTHER, person_stream("alice")), here.keys, ("alice", "bob")
        ):
            given_ = entry(stream, user, topic, "message:", b"{}", here.keys[owner_, scope_])
            if owner_ == user and scope_ in ("", scope(stream.removeprefix("room:"), TODAY)):
                continue
            answer = (
                (await here.one.pool.fetch(APPEND, *given_))[0]
                if _other_day(owner_, scope_, user, stream)
                else None
            )
            outcome = answer["outcome"] if answer else await here.ask(APPEND, *given_)
            assert outcome == ("stale" if answer else "refused"), (stream, owner_, scope_, user)
            refused += 1
        assert refused > 40
        assert await here.state() == before


def _other_day(owner_: str, scope_: str, user: str, stream: str) -> bool:
    return owner_ == user and scope_ == scope(stream.removeprefix("room:"), ago(5))


# Keys


async def test_keys_are_made_and_never_destroyed_replaced_or_put_elsewhere(database: Database) -> None:
    async with world(database) as here:
        secret = bytes(60)
        await here.ask("SELECT * FROM erase_person('bob', 'os:root', 'a request')")
        before = await here.state()
        query = "SELECT wrapped FROM add_keys($1, $2, $3, $4)"
        bad = [
            ("alice", "general/2020-01-01", None),
            ("carol", "", None),
            ("carol", "", b""),
            ("", "", secret),
            ("carol\n", "", secret),
            ("carol", "general", secret),
            ("carol", "~old", secret),
            ("carol", f"~{uuid4()}", secret),
            ("carol", "general/2020-01-01~", secret),
            ("carol", None, secret),
        ]
        for person, scope_, wrapped in bad:
            assert await here.ask(query, [uuid4()], [person], [scope_], [wrapped]) == "refused", (
                person,
                scope_,
            )
        uneven = ([uuid4(), uuid4()], ["carol"], [""], [secret])
        assert await here.ask(query, *uneven) == "refused"
        for person, scope_ in here.keys:
            answer = await here.one.pool.fetchrow(query, [uuid4()], [person], [scope_], [secret])
            assert answer is not None
            assert (answer["wrapped"] is None) == (person == "bob"), "those of others stay what they are"
        for scope_ in ("general/2020-01-01", "~next", "general/2020-01-01+"):
            answer = await here.one.pool.fetchrow(query, [uuid4()], ["bob"], [scope_], [secret])
            assert answer is not None
            assert answer["wrapped"] is None, "an erased person has no key again"
        assert await here.state() == before
        with pytest.raises(asyncpg.UniqueViolationError):
            await here.one.pool.fetch(query, [here.keys["alice", ""]], ["carol"], [""], [secret])


async def test_no_function_works_on_a_snapshot_from_before_an_erasure(database: Database) -> None:
    async with world(database) as here, here.one.pool.acquire() as old:
        secret = "decode(repeat('00', 60), 'hex')"
        for call in (
            f"add_keys(ARRAY['{uuid4()}'::uuid], ARRAY['bob'], ARRAY['general/2020-01-01'], ARRAY[{secret}])",
            "carry_words('{}', '{}', '{}')",
            f"replace_key('{here.keys['bob', '']}', 'x')",
            "erase_person('alice', 'x', 'g')",
            "expire_content('other', '2020-01-01', 'x')",
            "change_hold('user:alice', 'x', true, 'g')",
        ):
            with pytest.raises((asyncpg.InvalidTransactionStateError, asyncpg.SerializationError)):
                async with old.transaction(isolation="repeatable_read"):
                    await old.fetchval("SELECT count(*) FROM person_keys")
                    await here.ask("SELECT * FROM erase_person('bob', 'os:root', 'a request')")
                    await old.fetch(f"SELECT * FROM {call}")
        left = "SELECT count(*) FROM person_keys WHERE person = 'bob' AND wrapped IS NOT NULL"
        assert (await stored(database, left))[0][0] == 0


# Words that are carried over


async def test_words_are_carried_over_only_to_keys_of_their_own(database: Database) -> None:
    async with world(database) as here:
        rows = await stored(
            database,
            "SELECT notification_id, stream, topic, recorded_by, recorded_at, state, key_id FROM stored_events",
        )
        before, allowed = await here.state(), 0
        for row, ((owner_, scope_), key) in itertools.product(rows, here.keys.items()):
            said, day = row["topic"] == "room.MessagePosted.v1", row["recorded_at"].date()
            targets = [
                retention_backfill.NEXT,
                *([earlier(row["stream"].removeprefix("room:"), day)] if said else []),
            ]
            everything = row["key_id"] == here.keys.get((row["recorded_by"], ""))
            if everything and owner_ == row["recorded_by"] and scope_ in targets:
                allowed += 1
                continue
            words = _words(row["state"])
            answer = await here.ask(_CARRY, [row["notification_id"]], [key], [words])
            assert answer in ("refused", "0"), (dict(row), owner_, scope_)
        assert allowed > 5
        assert await here.state() == before


async def test_made_up_words_of_another_shape_are_refused(database: Database) -> None:
    async with world(database) as here:
        (row,) = await stored(
            database,
            "SELECT notification_id, state FROM stored_events WHERE topic = 'room.RoomTopicChanged.v1'",
        )
        good, key, before = (
            json.loads(_words(row["state"])),
            here.keys["alice", retention_backfill.NEXT],
            await here.state(),
        )
        made_up: list[Any] = [
            {}, [], "x", None, {"topic": None}, {"topic": {}}, {"topic": good["topic"][:-4]},
            {"topic": "!" * len(good["topic"])}, {"content": good["topic"]}, {**good, "content": good["topic"]},
        ]  # fmt: skip
        for words in made_up:
            given_ = ([row["notification_id"]], [key], [json.dumps(words)])
            assert await here.ask(_CARRY, *given_) == "refused", words
        for position in (-1, 0, None, 2**62):
            assert await here.ask(_CARRY, [position], [key], [json.dumps(good)]) == "refused"
        assert await here.ask(_CARRY, [row["notification_id"]], [uuid4()], [json.dumps(good)]) == "refused"
        assert await here.ask(_CARRY, [row["notification_id"], None], [key], [json.dumps(good)]) == "refused"
        assert await here.state() == before


async def test_made_up_words_hide_nothing_and_are_put_right_by_the_next_pass(database: Database) -> None:
    """They have the right shape and key id; only the key reveals that they are not the texts."""
    async with world(database) as here:
        rows = await stored(
            database,
            "SELECT notification_id, state FROM stored_events WHERE recorded_by = 'alice' AND stream = 'person:alice'",
        )
        for row in rows:
            given_ = (
                [row["notification_id"]],
                [here.keys["alice", retention_backfill.NEXT]],
                [_words(row["state"])],
            )
            assert await here.ask(_CARRY, *given_) == "1"
        assert (await here.one.log.stream(person_stream("alice"), 0, 1))[0].event == PersonNamed(
            user="alice", name="alice"
        )
        await run(here.one)
        assert (await here.one.log.stream(person_stream("alice"), 0, 1))[0].event == PersonNamed(
            user="alice", name="alice"
        )


async def test_key_replacement_waits_until_everything_is_carried_over(
    database: Database,
) -> None:
    async with world(database) as here:
        before = await here.state()
        ids = [*here.keys.values(), uuid4(), None]
        for key, upto in itertools.product(ids, (None, -1, 0, 10, 2**62)):
            await here.ask("SELECT position FROM find_carried($1, $2)", [key], upto)
            assert await here.ask("SELECT outcome FROM replace_key($1, 'node:bad')", key) in ("more", "gone")
        assert await here.state() == before


async def test_a_room_is_not_reached_before_what_was_said_in_it_is(database: Database) -> None:
    async with world(database) as here:
        before = await here.state()
        for room, upto in itertools.product(
            ("general", "other", "nowhere", "a:b", "", None), (-1, 0, 1, 2**62, None)
        ):
            answer = await here.ask("SELECT reach_room($1, $2)", room, upto)
            assert answer in ("refused", "0", "1", "2", "3", "None"), (room, upto, answer)
        assert await here.state() == before
        await run(here.one)
        assert "alice in room:other" not in await readable(here.one, "other"), "it is not switched off"


# What is destroyed and held


async def test_each_room_expires_by_its_own_rule(database: Database) -> None:
    async with world(database) as here:
        days = [ago(n) for n in (-3000, -1, 0, 1, 4, 100, 364, 365)] + [None]
        before = await here.state()
        for room, day in itertools.product(
            ("general", "gen", "general/2", "room:general", "GENERAL", "", None), days
        ):
            answer = await here.ask("SELECT outcome FROM expire_content($1, $2, 'node:bad')", room, day)
            assert answer in ("refused", "early"), (room, day)
        for day in days[:4]:
            answer = await here.ask("SELECT outcome FROM expire_content('other', $1, 'node:bad')", day)
            assert answer in ("refused", "early"), day
        assert await here.state() == before
        assert await here.ask("SELECT outcome FROM expire_content('other', $1, 'x')", ago(4)) == "expired"
        assert "alice then in general" in await readable(here.one)
        gone = await stored(database, "SELECT DISTINCT scope FROM person_keys WHERE wrapped IS NULL")
        over = {scope("other", ago(5)), earlier("other", ago(10))}
        assert {row["scope"] for row in gone} == over, "and no key of the other room"


async def test_what_is_no_person_or_room_is_neither_erased_nor_held(database: Database) -> None:
    async with world(database) as here:
        before = await here.state()
        names = [
            "",
            "service:b",
            "os:root",
            "node:a",
            "a b",
            " alice",
            "alice ",
            "al\nice",
            "x" * 256,
            "\x7f",
            "\u00e9",
            None,
        ]
        for name, by, ground in itertools.product(
            [*names, "alice"], ("os:root", "", None), ("g", "", " ", "a\nb", "x" * 501, None)
        ):
            if (name, by, ground) == ("alice", "os:root", "g"):
                continue
            assert (
                await here.ask("SELECT outcome FROM erase_person($1, $2, $3)", name, by, ground) == "refused"
            )
        subjects = [
            f"{kind}:{name}" for kind in ("room", "user", "person", "") for name in names if name is not None
        ]
        for subject, hold in itertools.product([*subjects, "room", "user", None], (True, False, None)):
            answer = await here.ask("SELECT outcome FROM change_hold($1, 'x', $2, 'g')", subject, hold)
            assert answer == "refused", (subject, hold)
        assert await here.ask("SELECT outcome FROM change_hold('user:bob', 'x', NULL, 'g')") == "refused"
        assert await here.state() == before


async def test_a_hold_protects_the_room_that_it_names(database: Database) -> None:
    async with world(database) as here:
        await here.ask("SELECT * FROM change_hold('room:other', 'os:counsel', true, 'case 7')")
        for person in ("alice", "bob"):
            assert await here.ask("SELECT outcome FROM erase_person($1, 'x', 'g')", person) == "held"
        (row,) = await stored(database, "SELECT stream_id FROM holds")
        assert row["stream_id"] == stream_id(OTHER)


async def test_nobody_who_is_erased_records_an_erasure_or_a_hold(database: Database) -> None:
    async with world(database) as here:
        await here.ask("SELECT * FROM erase_person('bob', 'os:root', 'a request')")
        before = await here.state()
        assert await here.ask("SELECT * FROM erase_person('alice', 'bob', 'g')") == "refused"
        assert await here.ask("SELECT * FROM change_hold('user:alice', 'bob', true, 'g')") == "refused"
        assert await here.state() == before


# The whole kind


async def test_a_login_of_a_node_writes_to_no_table_of_keys_and_words(database: Database) -> None:
    async with world(database) as here:
        before = await here.state()
        for statement in (
            "INSERT INTO person_keys (key_id, person, destroyed_at) VALUES (gen_random_uuid(), 'carol', now())",
            "INSERT INTO person_keys (key_id, person, wrapped) VALUES (gen_random_uuid(), 'carol', '\\x00')",
            "UPDATE person_keys SET person = 'bob'",
            "DELETE FROM person_keys",
            "INSERT INTO carried_words VALUES (1, gen_random_uuid(), '{}')",
            "UPDATE carried_words SET sealed = '{}'",
            "INSERT INTO reached_back VALUES (gen_random_uuid(), 9000000000000000000)",
            "UPDATE reached_back SET seq = 9000000000000000000",
            "INSERT INTO carried_until SELECT key_id, 9000000000000000000 FROM person_keys",
            "INSERT INTO key_days_since VALUES (true, 9000000000000000000)",
            "UPDATE key_days_since SET position = 9000000000000000000",
            "UPDATE open_keys SET wrapped = NULL",
            "SELECT record_event('holds', 'hold.HoldPlaced.v1', 'user:bob', 'x', '{}')",
            "SELECT take_append_lock()",
        ):
            with pytest.raises(asyncpg.PostgresError) as refused:
                await here.one.pool.execute(statement)
            wrong = refused.value.sqlstate
            assert wrong in ("42501", "55000"), (statement, refused.value)
        assert await here.state() == before


CALLED_HERE = {
    *(
        "add_keys",
        "carry_words",
        "change_hold",
        "chat_append",
        "erase_person",
        "expire_content",
        "find_carried",
    ),
    *("reach_room", "replace_key"),
}
ONLY_READS_OR_FORGETS_BY_AGE = {"carried_words_live", "forget_refs", "held_against"}


async def test_every_function_with_more_rights_is_called_here(database: Database) -> None:
    rows = await stored(
        database,
        """
        SELECT p.proname FROM pg_proc p WHERE p.prosecdef AND has_function_privilege('onrecord_node', p.oid, 'EXECUTE')
            AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        """,
    )
    assert {row["proname"] for row in rows} <= CALLED_HERE | ONLY_READS_OR_FORGETS_BY_AGE
    assert {row["proname"] for row in rows} >= CALLED_HERE


# What the database builds is what the mapper would write


@pytest.fixture
def connection(database: Database) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database.owner_url, autocommit=True) as made:
        yield made


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)


@settings(deadline=None, max_examples=60)
@given(names=st.lists(TEXT, min_size=1, max_size=20))
def _ids(connection: "psycopg.Connection[Any]", names: list[str]) -> None:
    query = (
        "SELECT id_of_stream(name) FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place) ORDER BY place"
    )
    assert [row[0] for row in connection.execute(query, [names])] == [stream_id(name) for name in names]


def test_the_database_computes_the_ids_of_streams(connection: "psycopg.Connection[Any]") -> None:
    _ids(connection)
    lengths = ["x" * length for length in range(200)]
    _ids.hypothesis.inner_test(connection, lengths)  # type: ignore[attr-defined] # every padding of a block


GROUND = TEXT.filter(re.compile(r"[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*").fullmatch)


@settings(deadline=None, max_examples=100)
@given(ground=GROUND)
def _grounds(connection: "psycopg.Connection[Any]", ground: str) -> None:
    held = f"user:{uuid4()}"
    connection.execute("SELECT * FROM change_hold(%s, 'x', true, %s)", [held, ground])
    row = connection.execute(
        "SELECT state FROM stored_events ORDER BY notification_id DESC LIMIT 1"
    ).fetchone()
    event = HoldPlaced(held=held, ground=ground)
    assert row == (EventSerializer(KeyRing(KEY_ENCRYPTION_KEY)).to_stored(event, HOLDS, None).state,)


def test_a_ground_is_stored_as_the_mapper_would_store_it(connection: "psycopg.Connection[Any]") -> None:
    _grounds(connection)


async def test_what_the_functions_record_is_what_the_mapper_writes(database: Database) -> None:
    ground = '"quoted" \\ ünïcödé \U0001f600 \u2028 </script>'
    async with world(database) as here:
        await here.one.pool.fetch("SELECT * FROM change_hold('room:general', 'x', true, $1)", ground)
        await here.one.pool.fetch("SELECT * FROM change_hold('room:general', 'x', false, $1)", ground)
        await run(here.one)
        await here.one.pool.fetch("SELECT * FROM erase_person('bob', 'x', $1)", ground)
        rows = await stored(database, "SELECT stream, topic, subject, state FROM stored_events")
        until, both = TODAY - timedelta(days=2), ("general", "other")
        wanted = {
            (stream, event.TOPIC, event.subject, here.one.serializer.to_stored(event, stream, None).state)
            for stream, event in (
                (HOLDS, HoldPlaced(held="room:general", ground=ground)),
                (HOLDS, HoldReleased(held="room:general", ground=ground)),
                (RETENTION, ContentExpired(room="other", until=until, days=1)),
                (RETENTION, KeyReplaced(user="alice", rooms=both)),
                (RETENTION, KeyReplaced(user="bob", rooms=both)),
                (person_stream("bob"), PersonErased(user="bob", ground=ground)),
            )
        }
        assert wanted <= {tuple(row) for row in rows}
        assert not {tuple(row) for row in rows if row["stream"] in (HOLDS, RETENTION)} - wanted


_CARRY = "SELECT carry_words($1::bigint[], $2::uuid[], $3::jsonb[])"


def _words(state: bytes) -> str:
    """Return made-up words of the shape of those in a stored event."""
    fields = json.loads(state)
    sealed = {name: value["c"] for name, value in fields.items() if isinstance(value, dict) and "c" in value}
    return json.dumps({name: value[::-1].replace("=", "A") for name, value in sealed.items()})
