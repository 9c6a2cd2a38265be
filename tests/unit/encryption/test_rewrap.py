"""A key encryption key takes another's place: step by step over several nodes, and nothing is lost on the way."""

import asyncio
import itertools
from typing import Any

import asyncpg
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from service.audit.privacy.erasure import erase
from service.audit.proof import signing_keys
from service.domain.events import MessagePosted
from service.encryption import rewrap as rewrapping
from service.encryption.keyring import KeyRing
from service.encryption.rewrap import Wrapped, count, rewrap
from service.encryption.wrapping import Wrapping
from service.eventstore.entries import AppendRequest
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer, Stored
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, Node, message, node, stored
from tests.support.servers.databases import Database

OLD, NEW = KEY_ENCRYPTION_KEY, bytes(range(100, 132))
PHASES = (OLD, OLD + NEW, NEW + OLD, NEW)
"""What the nodes are given, one step after the other; at each step some still have what was before."""

secrets = st.binary(max_size=64)


@given(secrets, st.binary(max_size=20))
def test_the_first_key_wraps_and_any_opens(secret: bytes, bound: bytes) -> None:
    wrapped = Wrapping(OLD).wrap(secret, bound)
    for keys in (OLD, OLD + NEW, NEW + OLD):
        assert Wrapping(keys).unwrap(wrapped, bound) == secret
        assert Wrapping(keys).is_current(wrapped, bound) == keys.startswith(OLD)
    for keys, other in ((NEW, bound), (OLD, bound + b"x")):
        with pytest.raises(InvalidTag):
            Wrapping(keys).unwrap(wrapped, other)


@pytest.mark.parametrize("keys", [b"", bytes(31), bytes(33), bytes(63)], ids=len)
def test_a_key_has_its_length(keys: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Wrapping(keys)


@pytest.mark.parametrize(
    ("before", "after"), list(itertools.pairwise(PHASES)), ids=["known", "used", "alone"]
)
async def test_nodes_before_and_after_each_rotation_step_are_compatible(
    database: Database, before: bytes, after: bytes
) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        for by, keys in (("alice", before), ("bob", after)):
            await said(one, by, keys)
        if before == NEW + OLD:
            await as_owner(database, lambda owner: rewrap(owner, Wrapping(NEW + OLD)))
        for keys in (before, after):
            log = await LogReader(one.pool, EventSerializer(KeyRing(keys))).stream(GENERAL, 3, 10)
            assert [r.event.content for r in log if isinstance(r.event, MessagePosted)] == ["alice", "bob"]
            for by in ("alice", "bob"):
                assert await said(one, by, keys) == "known"


async def said(one: Node, by: str, keys: bytes) -> str:
    """Say something on a node that has these key encryption keys, always under the same ref."""
    ring = KeyRing(keys)
    key = await ring.of_person(by, one.pool)
    event = message(by, author=by)
    return await offered(
        one,
        by,
        "the same",
        ring.fingerprint(by.encode()),
        EventSerializer(ring).to_stored(event, GENERAL, key),
    )


async def offered(one: Node, by: str, ref: str, fingerprint: bytes, *kept: Stored) -> str:
    entry = AppendRequest(
        stream=GENERAL, user=by, ref=ref, fingerprint=fingerprint, decided_on=0, guard=(),
        events=(MessagePosted(author=by, content=by, ref=ref),), stored=kept,
    )  # fmt: skip
    return (await one.appender.offer(entry)).outcome


async def as_owner(database: Database, work: Any) -> Any:
    async with sealed_logs.owner(database) as owner:
        return await work(owner)


async def test_ref_reuse_is_a_conflict_while_two_keys_exist(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        ring = KeyRing(NEW + OLD)
        kept = one.serializer.to_stored(message(), GENERAL, await one.keys.of_person("alice", one.pool))
        for said, outcome in ((b"one", "appended"), (b"one", "known"), (b"two", "conflict")):
            assert await offered(one, "alice", "r", ring.fingerprint(said), kept) == outcome
        (row,) = await stored(database, "SELECT fingerprint FROM refs WHERE ref = 'r'")
        assert row["fingerprint"] == KeyRing(NEW).fingerprint(b"one")


async def crowd(one: Node, people: int = 10) -> None:
    for number in range(people):
        await one.keys.of_person(f"p{number}", one.pool)


async def test_a_rewrapping_that_is_broken_off_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrapping, "BATCH", 3)
    both = Wrapping(NEW + OLD)
    async with node(database) as one, sealed_logs.owner(database) as owner:
        await crowd(one)

        class Broken:
            """A connection that is lost after two batches."""

            replaced = 0

            async def fetch(self, *query: Any) -> Any:
                return await owner.fetch(*query)

            async def execute(self, *query: Any) -> Any:
                self.replaced += 1
                if self.replaced > 2:
                    raise ConnectionResetError
                return await owner.execute(*query)

        with pytest.raises(ConnectionResetError):
            await rewrap(Broken(), both)  # type: ignore[arg-type] # as far as it is used
        assert await count(owner, both) == Wrapped(current=6, older=4)
        assert await rewrap(owner, both) == Wrapped(current=6, older=4)
        assert await count(owner, both) == Wrapped(current=10)
        ring = KeyRing(NEW)
        for number in range(10):
            key, same = (
                await ring.of_person(f"p{number}", one.pool),
                await one.keys.of_person(f"p{number}", one.pool),
            )
            assert key.open(same.seal("words", "c"), "c") == "words"


async def test_key_destroyed_during_rewrap_stays_destroyed(database: Database) -> None:
    async with node(database) as one, sealed_logs.owner(database) as owner:
        await crowd(one, 40)
        people = [f"p{number}" for number in range(0, 40, 2)]

        async def erase_some() -> None:
            for person in people:
                await erase(one.pool, person, ground="g", by="root", deadline=20)

        await asyncio.gather(erase_some(), rewrap(owner, Wrapping(NEW + OLD)))
        rows = await stored(database, "SELECT person FROM person_keys WHERE wrapped IS NULL")
        assert {row["person"] for row in rows} == {*people}


async def test_keys_of_another_installation_are_counted_and_left_alone(database: Database) -> None:
    async with node(database) as one, sealed_logs.owner(database) as owner:
        await crowd(one, 3)
        before = await stored(database, "SELECT * FROM person_keys ORDER BY key_id")
        assert await rewrap(owner, Wrapping(NEW)) == Wrapped(unknown=3)
        assert await stored(database, "SELECT * FROM person_keys ORDER BY key_id") == before


async def test_a_node_may_not_wrap_anything_anew(database: Database) -> None:
    async with node(database) as one:
        await crowd(one, 1)
        connection = await asyncpg.connect(database.app_url)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await rewrap(connection, Wrapping(NEW + OLD))
        await connection.close()


async def test_the_keys_that_sign_are_wrapped_anew_too_and_the_proof_stays(database: Database) -> None:
    await sealed_logs.fill(database)
    await sealed_logs.seal(database)
    kept = await sealed_logs.checkpoint(database)
    async with sealed_logs.owner(database) as owner:
        await signing_keys.rewrap(owner, NEW + OLD)
        (key,) = await signing_keys.load(owner, NEW)
        assert key.verifier.name in kept
        with pytest.raises(signing_keys.SealKeyInvalid):
            await signing_keys.load(owner, OLD)
