"""The sealer: it lags by about a second, rival sealers grow one tree, and a signed tree is never rewritten."""

import asyncio
import logging

import asyncpg
import pytest

from service.audit.proof import sealer, signing_keys, tree_store
from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.leaf import COLUMNS, digest, encode, of_row
from service.audit.proof.merkle import EMPTY, Frontier, leaf_hash
from service.audit.proof.merkle import consistency as consistency_of
from service.audit.proof.merkle import inclusion as inclusion_of
from service.audit.proof.signed_note import open_note
from service.eventstore.connections import Connector, Pooling
from tests.support.audit.verifier import extends, includes
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY
from tests.support.eventstore.sealed_logs import (
    append,
    attacker,
    checkpoint,
    fill,
    owner,
    positions,
    rested,
    seal,
    sealed,
    sealing,
    verified,
)
from tests.support.servers.databases import Database
from tests.support.waiting import until


async def leaf_hashes(database: Database) -> list[bytes]:
    async with owner(database) as connection:
        rows = await connection.fetch(f"SELECT {COLUMNS}, state FROM stored_events ORDER BY notification_id")
    return [leaf_hash(encode(of_row(row, digest(row["state"])))) for row in rows]


async def root(database: Database, size: int | None = None) -> bytes:
    edge = Frontier()
    edge.extend((await leaf_hashes(database))[:size])
    return edge.root()


async def newest(database: Database) -> Checkpoint:
    async with owner(database) as connection:
        keys = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
        found = await tree_store.newest(connection, keys)
    assert found
    return found.checkpoint


async def test_a_checkpoint_is_of_every_event_and_the_last_position(database: Database) -> None:
    await fill(database)
    size = await seal(database)
    made = await newest(database)
    assert (made.size, made.position) == (size, (await positions(database))[-1])
    assert made.root == await root(database)
    assert made.origin.startswith("onrecord/")


@pytest.mark.parametrize("at_once", [1, 2, 7, 1000])
async def test_the_tree_is_the_same_however_it_was_cut_into_seals(database: Database, at_once: int) -> None:
    await fill(database)
    await seal(database, at_once=at_once)
    assert (await newest(database)).root == await root(database)
    async with owner(database) as connection:
        rows = await connection.fetch("SELECT first, size, positions FROM seals ORDER BY size")
    assert [row["first"] for row in rows] == [0, *(row["size"] for row in rows[:-1])]
    assert [n for row in rows for n in row["positions"]] == await positions(database), "dense leaf numbers"


async def test_a_running_sealer_follows_what_is_appended(database: Database) -> None:
    async with sealing(database) as running:
        await fill(database, messages=3)
        await sealed(running, 11)
        await append(database, "one", "two")
        await sealed(running, 13)
    assert (await verified(database)).size == 13


async def test_a_sealer_that_has_sealed_everything_rests(database: Database) -> None:
    """It looks for more once in a while, as many times as it says."""
    await fill(database, messages=3)
    async with sealing(database) as running:
        await sealed(running, 11)
        await rested(running, 3)


@pytest.mark.timeout(60)
async def test_a_sealer_is_woken_by_the_append(database: Database) -> None:
    """Its interval is longer than this test may take."""
    async with sealing(database, interval=3600) as running:
        await rested(running)
        await fill(database, messages=3)
        await until(lambda: running.size == 11)


async def test_a_sealer_that_begins_again_goes_on_with_the_same_tree(database: Database) -> None:
    await fill(database, messages=300)
    await seal(database, at_once=50)
    first = await newest(database)
    await append(database, "more")
    await seal(database, at_once=50)
    second = await newest(database)
    assert (second.size, second.root) == (first.size + 1, await root(database))
    assert await verified(database) == (second.size, 0, None)


async def test_one_sealer_leads_and_another_takes_over_when_it_is_gone(database: Database) -> None:
    async with sealing(database, fails=True) as first:
        await until(lambda: first.leading)
        async with sealing(database) as second:
            await fill(database, messages=1)
            await sealed(first, 9)
            assert (second.leading, second.size) == (False, 0)
            async with owner(database) as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                    " AND objid = 7236112 AND database = (SELECT oid FROM pg_database WHERE datname = $1)",
                    database.name,
                )
            await until(lambda: second.leading)
            await append(database, "more")
            await sealed(second, 10)
    assert await verified(database) == (10, 0, None)


@pytest.mark.timeout(60)
async def test_a_blocked_seal_is_abandoned_and_sealed_by_a_new_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database, messages=3)
    monkeypatch.setattr(sealer, "DEADLINE", 0.3)
    monkeypatch.setattr("service.runtime.supervise.PAUSE", 0.0)
    async with sealing(database, fails=True) as running, owner(database) as blocker:
        await sealed(running, 11)
        before = running.connections
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE seals IN ACCESS EXCLUSIVE MODE")
            await append(database, "more")
            await until(lambda: running.connections > before)
        monkeypatch.setattr(sealer, "DEADLINE", 30)
        await until(lambda: running.size == 12)
    assert await verified(database) == (12, 0, None)


async def test_sealers_over_shared_sessions_take_turns_on_one_tree(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler in transaction mode, where no lock outlives a transaction and no notification arrives."""
    monkeypatch.setattr(sealer, "PAUSE", 0.01)
    monkeypatch.setattr(sealer, "MAX_EVENTS", 3)
    shared = Connector(database.worker_url, 20, Pooling.TRANSACTION)
    pair = [sealer.Sealer(shared.connect, KEY_ENCRYPTION_KEY, 0.01) for _ in range(2)]
    tasks = [asyncio.create_task(each.run()) for each in pair]
    await fill(database)
    size = len(await leaf_hashes(database))
    for _ in range(5):
        await until(lambda: all(each.size == size for each in pair))  # noqa: B023 - awaited in this round
        await append(database, "more")
        size += 1
    tasks.pop().cancel()
    await append(database, "with one sealer")
    await until(lambda: pair[0].size == size + 1)
    tasks.pop().cancel()
    assert await verified(database) == (size + 1, 0, None)


async def test_two_sealers_cannot_grow_two_trees_from_one(database: Database) -> None:
    await fill(database)
    await seal(database)
    async with owner(database) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "INSERT INTO seals SELECT size + 1, first, positions || 99999::bigint,"
                " hashes || decode(repeat('00', 32), 'hex'), checkpoint FROM seals WHERE first = 0"
            )


def has_broken(caplog: pytest.LogCaptureFixture) -> bool:
    return "seals_broken" in [record.message for record in caplog.records]


async def test_nothing_is_signed_where_the_stored_tree_is_not_the_signed_one(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database)
    await seal(database)
    before = await checkpoint(database)
    async with attacker(database) as connection:
        await connection.execute("UPDATE seals SET hashes = overlay(hashes PLACING '\\x00' FROM 5)")
    await append(database, "more")
    monkeypatch.setattr(sealer, "BROKEN_PAUSE", 0)
    async with sealing(database, fails=True) as running:
        await until(lambda: has_broken(caplog) or running.rounds)
        assert has_broken(caplog)
        await asyncio.sleep(0.1)
        assert not running.leading
    assert await checkpoint(database) == before
    assert caplog.records[-1].levelno == logging.ERROR


async def test_another_key_encryption_key_signs_nothing(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database)
    await seal(database)
    monkeypatch.setattr(sealer, "BROKEN_PAUSE", 0)
    await append(database, "more")
    async with sealing(database, key=bytes(32), fails=True) as running:
        await until(lambda: has_broken(caplog) or running.rounds)
        assert has_broken(caplog)
    assert (await verified(database)).unsealed == 1


async def test_every_event_is_proved_from_what_is_stored(database: Database) -> None:
    await fill(database, messages=600)
    size = await seal(database, at_once=90)
    leaves, made = await leaf_hashes(database), await newest(database)
    async with owner(database) as connection:
        for place in (0, 1, 89, 90, 255, 256, 511, 512, size - 1):
            index, hashed = await tree_store.SealedLeaves(connection).of((await positions(database))[place])
            assert hashed == leaves[place]
            proof = await tree_store.path(connection, inclusion_of(index, size))
            assert index == place
            assert includes(made.root, size, index, leaves[place], proof)
        for old in (1, 255, 256, 300, size):
            proof = await tree_store.path(connection, consistency_of(old, size))
            assert extends(await root(database, old), old, made.root, size, proof)


async def test_what_is_not_sealed_has_no_place_in_the_tree(database: Database) -> None:
    await fill(database)
    async with owner(database) as connection:
        with pytest.raises(tree_store.NotSealed, match="not sealed yet"):
            await tree_store.SealedLeaves(connection).of((await positions(database))[0])
    await seal(database)
    async with owner(database) as connection:
        for nowhere in (0, (await positions(database))[-1] + 1):
            with pytest.raises(tree_store.NotSealed):
                await tree_store.SealedLeaves(connection).of(nowhere)


async def test_of_an_empty_log_nothing_is_signed(database: Database) -> None:
    async with sealing(database) as running:
        await until(lambda: running.leading)
        async with owner(database) as connection:
            assert await tree_store.newest(connection, []) is None
            assert (await tree_store.frontier(connection, 0)).root() == EMPTY
    assert await verified(database) == (0, 0, None)


# Keys


async def test_a_new_key_signs_from_then_on_and_the_old_ones_stay_known(database: Database) -> None:
    await fill(database)
    await seal(database)
    old = await checkpoint(database)
    async with owner(database) as connection:
        await signing_keys.rotate(connection, KEY_ENCRYPTION_KEY)
        await append(database, "more")
        await seal(database)
        first, second = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
    assert open_note(old, [first.verifier])
    assert open_note(await checkpoint(database), [second.verifier])
    assert (
        open_note(second.endorsement or "", [first.verifier])
        == f"{first.verifier.name}/key\n{second.verifier}\n"
    )
    assert await verified(database, against=old)


async def test_a_running_sealer_takes_a_new_key_at_its_next_seal(database: Database) -> None:
    await fill(database)
    async with sealing(database) as running, owner(database) as connection:
        await rested(running)
        await signing_keys.rotate(connection, KEY_ENCRYPTION_KEY)
        size = running.size
        await append(database, "more")
        await sealed(running, size + 1)
        newest_key = (await signing_keys.load(connection, KEY_ENCRYPTION_KEY))[-1]
    assert newest_key.number == 2
    assert open_note(await checkpoint(database), [newest_key.verifier])


async def test_there_is_no_second_key_before_the_first(database: Database) -> None:
    async with owner(database) as connection:
        with pytest.raises(signing_keys.SealKeyInvalid, match="no seal key yet"):
            await signing_keys.rotate(connection, KEY_ENCRYPTION_KEY)


async def test_two_that_make_the_first_key_at_once_agree(database: Database) -> None:
    async with owner(database) as one, owner(database) as other:
        await asyncio.gather(*(signing_keys.create(each, KEY_ENCRYPTION_KEY) for each in (one, other)))
        assert len(await signing_keys.load(one, KEY_ENCRYPTION_KEY)) == 1
