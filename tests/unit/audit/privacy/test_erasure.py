"""Erasing a person: the keys go, the record says so, and nothing that happens at the same moment gets round it."""

import asyncio

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.audit.privacy.erasure import Erasure
from service.audit.privacy.erasure import erase as erase_by
from service.domain.account import PersonState
from service.domain.events import MemberLeft, MessagePosted, PersonErased, ReactionAdded, SessionClosed
from service.domain.streams import person_stream, session_stream
from service.encryption.keyring import KeyRing
from service.errors import AccountErased, PersonUnknown
from tests.support.eventstore import sealed_logs
from tests.support.eventstore.log_node import GENERAL, KEY_ENCRYPTION_KEY, Node, message, node, stored
from tests.support.servers.databases import Database


async def erase(one: Node, person: str = "alice", by: str = "root") -> Erasure:
    return await erase_by(one.pool, person, ground="a request", by=by, deadline=20)


async def events_of(database: Database, person: str) -> list[tuple[int, str]]:
    query = "SELECT notification_id, topic FROM stored_events WHERE recorded_by = $1 ORDER BY 1"
    return [(row[0], row[1]) for row in await stored(database, query, person)]


async def test_the_keys_are_destroyed_and_the_record_says_so(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await one.append(message("alice's"), decided_on=3)
        await one.append(message("bob's", author="bob"), by="bob", decided_on=3)
        before = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        erased = await erase(one)
        assert erased.keys == 1
        (said,) = await one.log.stream(person_stream("alice"), 0, 10)
        assert (said.event, said.by, said.position, said.at) == (
            PersonErased(user="alice", ground="a request"), "root", erased.position, erased.at
        )  # fmt: skip
        assert await one.log.person("alice") == PersonState(1, erased=True)
        log = await one.log.stream(GENERAL, 3, 10)
        assert [(r.event.content, r.erased) for r in log if isinstance(r.event, MessagePosted)] == [
            (None, True),
            ("bob's", False),
        ]
        after = await stored(database, "SELECT * FROM stored_events ORDER BY notification_id")
        assert after[:-1] == before, "no stored byte changes"
        rows = await stored(database, "SELECT wrapped FROM person_keys WHERE person = 'alice'")
        assert [row["wrapped"] for row in rows] == [None]


async def test_the_proof_is_as_valid_as_before(database: Database) -> None:
    await sealed_logs.fill(database)
    await sealed_logs.seal(database)
    kept = await sealed_logs.checkpoint(database)
    async with node(database) as one:
        await erase(one, "bob")
    await sealed_logs.seal(database)
    assert await sealed_logs.first_bad(database, kept) is None


async def test_erasing_again_changes_nothing_and_says_when_it_was(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message(), decided_on=2)
        first, *others = await asyncio.gather(*(erase(one, by=by) for by in ("one", "two", "three")))
        again = await erase(one)
        assert {each.position for each in (first, *others, again)} == {first.position}
        assert sorted(each.keys for each in (first, *others)) == [0, 0, 1]
        assert again.keys == 0
        assert len(await one.log.stream(person_stream("alice"), 0, 10)) == 1


async def test_nobody_is_erased_who_was_never_here(database: Database) -> None:
    async with node(database) as one:
        with pytest.raises(PersonUnknown):
            await erase(one, "nobody")
    assert await stored(database, "SELECT * FROM person_keys") == []


async def test_whoever_never_wrote_a_word_is_erased_all_the_same(database: Database) -> None:
    async with node(database) as one:
        closed = SessionClosed(session="s", reason="left", ranges=None)
        await one.append(closed, stream=session_stream("alice"))
        await erase(one)
        with pytest.raises(AccountErased):
            await KeyRing(KEY_ENCRYPTION_KEY).of_person("alice", one.pool)
        assert (await one.append(MemberLeft(user="alice"))).outcome == "key_gone"


async def test_an_administrator_may_erase_themselves(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message(), decided_on=2)
        await erase(one, by="alice")
        assert (await one.append(MemberLeft(user="alice"), decided_on=3)).outcome == "key_gone"


async def test_after_erasure_only_session_ends_are_recorded(
    database: Database,
) -> None:
    """For commands in flight on any node, with or without texts, with a cached key or a new one."""
    async with node(database) as one, node(database) as other:
        await one.open_room("alice", "bob")
        for each in (one, other):
            await each.keys.of_person("alice", each.pool)

        async def talk(each: Node) -> str:
            while True:  # until it is refused
                for event in (message("x"), ReactionAdded(message=3, emoji="x")):
                    outcome = (await each.append(event, decided_on=3, guard=())).outcome
                    if outcome != "appended":
                        return outcome

        talking = [asyncio.create_task(talk(each)) for _ in range(10) for each in (one, other)]
        erased = await erase(one)
        assert set(await asyncio.gather(*talking)) == {"key_gone"}
        for each in (one, other):
            assert (await each.append(message("late"), decided_on=3, guard=())).outcome == "key_gone"
        closed = SessionClosed(session="s", reason="erased", code=4504, ranges=None)
        assert (await one.append(closed, stream=session_stream("alice"))).outcome == "appended"
        late = [topic for position, topic in await events_of(database, "alice") if position > erased.position]
        assert late == [SessionClosed.TOPIC]


async def test_a_key_that_is_made_while_its_owner_is_erased_does_not_live(database: Database) -> None:
    async with node(database) as one:
        for number in range(10):
            person = f"p{number}"
            await one.append(MemberLeft(user=person), stream=person_stream(person), by=person)
            rings = [KeyRing(KEY_ENCRYPTION_KEY) for _ in range(4)]
            making = [asyncio.create_task(ring.of_person(person, one.pool)) for ring in rings]
            await erase(one, person)
            await asyncio.gather(*making, return_exceptions=True)
            query = "SELECT count(*) FROM person_keys WHERE person = $1 AND wrapped IS NOT NULL"
            assert (await stored(database, query, person))[0][0] == 0


async def test_failed_transaction_changes_nothing(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message("still here"), decided_on=2)
        connection = await asyncpg.connect(database.app_url)
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await erase_by(connection, "alice", ground="g", by="root", deadline=20)
                raise ZeroDivisionError
        await connection.close()
        assert not (await one.log.person("alice")).erased
        (said,) = await one.log.stream(GENERAL, 2, 10)
        assert said.event == message("still here")


async def test_a_node_can_destroy_a_key_in_no_other_way(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message(), decided_on=2)
        for statement in (
            "UPDATE person_keys SET wrapped = NULL, destroyed_at = now()",
            "DELETE FROM person_keys",
            "TRUNCATE person_keys",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await one.pool.execute(statement)


async def test_what_commands_said_is_not_kept_in_the_fingerprints_of_their_refs(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        await one.append(message(), decided_on=3, ref="of-alice")
        await one.append(message(author="bob"), by="bob", decided_on=3, ref="of-bob")
        await erase(one)
        refs = {row["ref"] for row in await stored(database, "SELECT ref FROM refs")}
        assert "of-bob" in refs
        assert "of-alice" not in refs


async def test_evicted_key_decrypts_nothing_and_leaves_memory(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message("words"), decided_on=2)
        ring, query = one.keys, "SELECT key_id, wrapped FROM person_keys WHERE person = 'alice'"
        ((key_id, wrapped),) = await stored(database, query)
        assert ring.cached(key_id) is not None
        await erase(one)
        await ring.evict_destroyed(["alice"], one.pool)
        assert ring.cached(key_id) is None
        assert ("alice", "") not in ring._by_owner
        # A row that was read before the erasure, and is opened only now, does not bring the key back.
        ring.unwrap(key_id, wrapped)
        assert ring.cached(key_id) is None
        with pytest.raises(AccountErased):
            await ring.of_person("alice", one.pool)


async def test_no_key_of_theirs_is_left_in_the_table_once_it_is_written_anew(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message("words"), decided_on=2)
        ((key_id, wrapped),) = await stored(database, "SELECT key_id, wrapped FROM person_keys")
        secret = AESGCM(KEY_ENCRYPTION_KEY).decrypt(wrapped[:12], wrapped[12:], key_id.bytes)
        assert len(secret) == 32
        await erase(one)
        await stored(database, "VACUUM FULL person_keys")
        await stored(database, "CHECKPOINT")
        (path,) = (await stored(database, "SELECT pg_read_binary_file(pg_relation_filepath('person_keys'))"))[
            0
        ]
        assert key_id.bytes in path
        assert wrapped not in path
