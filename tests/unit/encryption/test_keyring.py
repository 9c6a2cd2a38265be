"""People's words: sealed under their own key, provable, bound to their place, and gone with the key."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any, cast
from unittest.mock import Mock
from uuid import UUID, uuid4

import asyncpg
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from service.domain.events import MessagePosted, PersonNamed
from service.domain.streams import person_stream
from service.encryption import keyring as keys_module
from service.encryption.keyring import KeyRing
from service.encryption.person_key import PersonKey
from service.errors import AccountErased
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, message, node, stored
from tests.support.servers.databases import Database
from tests.support.waiting import until

SECRET = bytes(range(100, 132))
KEY_ID = UUID("11111111-2222-4333-8444-555555555555")
CONTEXT = "room:general|room.MessagePosted.v1|content"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=8) as made:
        yield made


# One key


@given(texts)
def test_sealed_words_open_as_they_were(text: str) -> None:
    key = PersonKey(KEY_ID, SECRET)
    assert key.open(key.seal(text, CONTEXT), CONTEXT) == text


def test_words_do_not_open_under_the_commitment_to_others() -> None:
    key = PersonKey(KEY_ID, SECRET)
    one, other = key.seal("yes", CONTEXT), key.seal("no", CONTEXT)
    with pytest.raises(InvalidTag):
        key.open(one | {"h": other["h"]}, CONTEXT)


@given(texts)
def test_the_commitment_is_the_hash_of_salt_and_text(text: str) -> None:
    """The stored form is opened by hand here, as an auditor with the key would."""
    sealed = PersonKey(KEY_ID, SECRET).seal(text, CONTEXT)
    raw = base64.b64decode(sealed["c"])
    salted = AESGCM(SECRET).decrypt(raw[:12], raw[12:], f"{KEY_ID}|{CONTEXT}".encode())
    assert salted[32:].decode() == text
    assert base64.b64decode(sealed["h"]) == hashlib.sha256(salted[:32] + text.encode()).digest()
    assert sealed["k"] == str(KEY_ID)
    assert set(sealed) == {"k", "h", "c"}


def test_the_same_words_are_sealed_differently_each_time() -> None:
    key = PersonKey(KEY_ID, SECRET)
    sealed = [key.seal("yes", CONTEXT) for _ in range(50)]
    for part in ("h", "c"):
        assert len({each[part] for each in sealed}) == 50, "equal words cannot be told from their stored form"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "room:other|room.MessagePosted.v1|content",
        "room:general|room.MessageEdited.v1|content",
        "room:general|room.MessagePosted.v1|reason",
        "",
    ],
)
def test_content_moved_to_another_stream_event_or_field_does_not_decrypt(elsewhere: str) -> None:
    key = PersonKey(KEY_ID, SECRET)
    with pytest.raises(InvalidTag):
        key.open(key.seal("hello", CONTEXT), elsewhere)


def test_words_do_not_open_under_another_key_or_another_id() -> None:
    sealed = PersonKey(KEY_ID, SECRET).seal("hello", CONTEXT)
    for other in (PersonKey(KEY_ID, os.urandom(32)), PersonKey(uuid4(), SECRET)):
        with pytest.raises(InvalidTag):
            other.open(sealed, CONTEXT)


@given(st.integers(0, 12 + 32 + 5 + 16 - 1), st.integers(1, 255))
def test_no_bit_of_a_ciphertext_can_be_changed(at: int, change: int) -> None:
    key = PersonKey(KEY_ID, SECRET)
    sealed = key.seal("hello", CONTEXT)
    raw = bytearray(base64.b64decode(sealed["c"]))
    raw[at] ^= change
    with pytest.raises(InvalidTag):
        key.open({**sealed, "c": base64.b64encode(raw).decode()}, CONTEXT)


# The ring


async def test_a_person_has_one_key_made_on_first_use(pool: "asyncpg.Pool[Any]", database: Database) -> None:
    ring = KeyRing(KEY_ENCRYPTION_KEY)
    first = await ring.of_person("alice", pool)
    assert await ring.of_person("alice", pool) is first
    assert (await ring.of_person("bob", pool)).key_id != first.key_id
    rows = await stored(database, "SELECT person, key_id FROM person_keys ORDER BY person")
    assert [(row["person"], row["key_id"] == first.key_id) for row in rows] == [
        ("alice", True),
        ("bob", False),
    ]


async def test_nodes_that_race_to_make_one_persons_key_agree(
    pool: "asyncpg.Pool[Any]", database: Database
) -> None:
    for person in ("alice", "bob", "carol"):
        rings = [KeyRing(KEY_ENCRYPTION_KEY) for _ in range(8)]
        made = await asyncio.gather(*(ring.of_person(person, pool) for ring in rings))
        assert len({key.key_id for key in made}) == 1
        assert made[-1].open(made[0].seal("hello", CONTEXT), CONTEXT) == "hello"
    assert len(await stored(database, "SELECT * FROM person_keys")) == 3


async def test_the_keys_of_many_are_asked_for_in_one_statement(pool: "asyncpg.Pool[Any]") -> None:
    asked: list[str] = []

    class Counting:
        async def fetch(self, query: str, *arguments: object) -> Any:
            asked.append(query)
            return await pool.fetch(query, *arguments)

    ring, counting = KeyRing(KEY_ENCRYPTION_KEY), cast("asyncpg.Pool[Any]", Counting())
    people = [f"user{number}" for number in range(50)]
    alice = await ring.of_person("alice", pool)
    keys = await ring.of_people([*people, "alice"], counting)
    assert len(asked) == 1
    assert keys.keys() == {*people, "alice"}
    assert keys["alice"] is alice
    assert await ring.of_people(people, counting) == {person: keys[person] for person in people}
    assert len(asked) == 1
    other = await KeyRing(KEY_ENCRYPTION_KEY).of_people(people, pool)
    assert {person: key.key_id for person, key in other.items()} == {
        person: keys[person].key_id for person in people
    }


async def test_whoever_is_erased_has_no_key_and_the_others_have(
    pool: "asyncpg.Pool[Any]", database: Database
) -> None:
    await KeyRing(KEY_ENCRYPTION_KEY).of_people(["alice", "bob"], pool)
    await stored(database, "UPDATE person_keys SET wrapped = NULL, destroyed_at = now() WHERE person = 'bob'")
    ring = KeyRing(KEY_ENCRYPTION_KEY)
    assert (await ring.of_people(["alice", "bob", "carol"], pool)).keys() == {"alice", "carol"}
    with pytest.raises(AccountErased):
        await ring.of_person("bob", pool)


async def test_nodes_creating_the_same_keys_agree_without_deadlock(
    pool: "asyncpg.Pool[Any]", database: Database
) -> None:
    people = [f"user{number}" for number in range(200)]
    orders = [people, people[::-1], people[100:] + people[:100], people[::2] + people[1::2]]
    made = await asyncio.gather(*(KeyRing(KEY_ENCRYPTION_KEY).of_people(order, pool) for order in orders))
    assert all(
        {p: key.key_id for p, key in one.items()} == {p: key.key_id for p, key in made[0].items()}
        for one in made
    )
    assert len(await stored(database, "SELECT * FROM person_keys")) == 200


async def test_a_key_that_cannot_be_opened_is_nobody_elses_trouble(
    pool: "asyncpg.Pool[Any]", database: Database
) -> None:
    await KeyRing(KEY_ENCRYPTION_KEY).of_people(["alice", "bob"], pool)
    await stored(database, "UPDATE person_keys SET wrapped = reverse(wrapped) WHERE person = 'bob'")
    ring = KeyRing(KEY_ENCRYPTION_KEY)
    asked = [ring.of_person(person, pool) for person in ("alice", "bob", "carol")]
    alice, bob, carol = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(alice, PersonKey)
    assert isinstance(bob, InvalidTag)
    assert isinstance(carol, PersonKey)
    assert (await KeyRing(KEY_ENCRYPTION_KEY).of_people(["alice", "bob"], pool)).keys() == {"alice"}


async def test_a_key_being_made_by_another_node_is_waited_for(
    pool: "asyncpg.Pool[Any]", database: Database
) -> None:
    ring, other = KeyRing(KEY_ENCRYPTION_KEY), KeyRing(KEY_ENCRYPTION_KEY)
    first = await other.of_person("somebody", pool)
    owner = await asyncpg.connect(database.superuser_url)
    async with owner.transaction():
        await owner.execute("UPDATE person_keys SET person = 'alice'")
        asked = asyncio.create_task(ring.of_person("alice", pool))
        await until(lambda: owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    await owner.close()
    assert (await asked).key_id == first.key_id


async def test_the_key_in_the_database_is_wrapped(pool: "asyncpg.Pool[Any]", database: Database) -> None:
    await KeyRing(KEY_ENCRYPTION_KEY).of_person("alice", pool)
    ((key_id, wrapped),) = await stored(database, "SELECT key_id, wrapped FROM person_keys")
    assert len(AESGCM(KEY_ENCRYPTION_KEY).decrypt(wrapped[:12], wrapped[12:], key_id.bytes)) == 32


async def test_a_wrong_key_encryption_key_opens_nothing(pool: "asyncpg.Pool[Any]") -> None:
    await KeyRing(KEY_ENCRYPTION_KEY).of_person("alice", pool)
    with pytest.raises(InvalidTag):
        await KeyRing(bytes(32)).of_person("alice", pool)


async def test_a_wrapped_key_cannot_be_given_to_another_person(
    pool: "asyncpg.Pool[Any]", database: Database
) -> None:
    ring = KeyRing(KEY_ENCRYPTION_KEY)
    await ring.of_person("alice", pool)
    ((_, wrapped),) = await stored(database, "SELECT key_id, wrapped FROM person_keys")
    with pytest.raises(InvalidTag):
        ring.unwrap(uuid4(), wrapped)


async def test_destroyed_key_reads_as_none_and_leaves_stored_bytes_unchanged(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await one.append(message("alice's secret"), decided_on=3)
        await one.append(message("bob's words", author="bob"), by="bob", decided_on=3)
        await one.append(PersonNamed(user="alice", name="Alice L."), stream=person_stream("alice"))
        before = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        await stored(database, "DELETE FROM person_keys WHERE person = 'alice'")
        log = await one.log.stream(GENERAL, 3, 10)
        assert [(recorded.erased, recorded.event) for recorded in log] == [
            (True, MessagePosted(author="alice", content=None, ref="ref")),
            (False, MessagePosted(author="bob", content="bob's words", ref="ref")),
        ]
        assert (await one.log.person("alice")).name is None
        assert await stored(database, "SELECT * FROM stored_events ORDER BY notification_id") == before


async def test_new_key_after_destruction_decrypts_nothing_old(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message("before"), decided_on=2)
        await stored(database, "DELETE FROM person_keys")
        one.keys.forget("alice")
        await one.append(message("after"), decided_on=2)
        log = await one.log.stream(GENERAL, 2, 10)
        assert [(r.event.content, r.erased) for r in log if isinstance(r.event, MessagePosted)] == [
            (None, True),
            ("after", False),
        ]


async def test_keys_in_memory_are_bounded_and_found_again(
    pool: "asyncpg.Pool[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "CACHED_KEYS", 3)
    ring = KeyRing(KEY_ENCRYPTION_KEY)
    first = {person: (await ring.of_person(person, pool)).key_id for person in "abcdef"}
    assert len(ring._by_owner) == len(ring._by_id) == 3
    assert {person: (await ring.of_person(person, pool)).key_id for person in "abcdef"} == first


# Fingerprints


def test_a_fingerprint_tells_commands_apart_and_nobody_else_can_make_it() -> None:
    ring = KeyRing(KEY_ENCRYPTION_KEY)
    assert ring.fingerprint(b"hello") == KeyRing(KEY_ENCRYPTION_KEY).fingerprint(b"hello")
    assert ring.fingerprint(b"hello") != ring.fingerprint(b"hello!")
    assert ring.fingerprint(b"hello") != KeyRing(bytes(32)).fingerprint(b"hello")
    assert len(ring.fingerprint(b"hello")) == 16
    assert ring.fingerprint(b"hello") != hashlib.sha256(b"hello").digest()[:16]


async def test_a_key_destroyed_while_it_is_read_is_not_cached() -> None:
    ring, key_id = KeyRing(KEY_ENCRYPTION_KEY), uuid4()
    wrapped = ring._wrapping.wrap(bytes(32), key_id.bytes)
    reads = 0

    async def fetch(_query: str, *_arguments: object) -> list[dict[str, Any]]:
        nonlocal reads
        reads += 1
        ring._drop({key_id})
        return [{"person": "alice", "scope": "", "key_id": key_id, "wrapped": wrapped}]

    database: Any = Mock(fetch=fetch)
    for count in (1, 2):
        await ring.of_person("alice", database)
        assert reads == count, "the next use reads the log again"
    assert ring.cached(key_id) is None
