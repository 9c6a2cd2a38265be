"""Any change by an attacker with the database but not the key is detected, with the first bad position."""

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.audit.proof import leaf, signing_keys
from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.merkle import Frontier, leaf_hash
from service.audit.proof.signed_note import SigningKey
from service.domain.streams import stream_id
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, node, stored
from tests.support.eventstore.sealed_logs import (
    TABLES,
    append,
    attacker,
    checkpoint,
    first_bad,
    owner,
    positions,
    seal,
    verified,
)
from tests.support.servers.databases import Database


@pytest.fixture
async def evil(sealed: Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    async with attacker(sealed) as connection:
        yield connection


async def test_a_log_that_nobody_touched_is_good(sealed: Database) -> None:
    assert await verified(sealed) == (308, 0, None)
    assert await verified(sealed, against=await checkpoint(sealed)) == (308, 0, None)


async def test_events_after_the_last_seal_are_counted_and_said_to_be_unsealed(sealed: Database) -> None:
    old = await checkpoint(sealed)
    await append(sealed, "one", "two")
    size, unsealed, since = await verified(sealed, against=old)
    assert (size, unsealed) == (308, 2)
    assert (
        since
        == (await stored(sealed, "SELECT recorded_at AS at FROM stored_events ORDER BY 1 DESC LIMIT 2"))[1][
            "at"
        ]
    )


@pytest.mark.parametrize(("seq", "at"), [("seq + 5", "at"), ("seq + 1", "at - interval '1 second'")])
async def test_event_inserted_out_of_turn_is_found_even_when_sealed(
    sealed: Database, evil: "asyncpg.Connection[Any]", seq: str, at: str
) -> None:
    """As the owner of the tables, past `chat_append`: with a position too far ahead, or an earlier time."""
    position = await evil.fetchval(f"""
        INSERT INTO stored_events (originator_id, originator_version, topic, state, notification_id, stream, subject,
            recorded_at, recorded_by)
        SELECT originator_id, {seq}, topic, '{{"user":"bob"}}', 311, stream, subject, {at}, recorded_by
        FROM (SELECT *, originator_version AS seq, recorded_at AS at FROM stored_events WHERE stream = 'room:general'
            ORDER BY originator_version DESC LIMIT 1) last
        RETURNING notification_id""")
    assert await first_bad(sealed) == position
    await seal(sealed)
    assert await first_bad(sealed) == position


async def test_the_proof_stays_valid_when_a_persons_key_is_destroyed(sealed: Database) -> None:
    old = await checkpoint(sealed)
    await stored(sealed, "DELETE FROM person_keys WHERE person = 'alice'")
    assert await verified(sealed, against=old) == (308, 0, None)


# Every column of the log


def other(value: Any, chance: random.Random) -> Any:
    """Return another value of the same kind."""
    match value:
        case bytes():
            at = chance.randrange(len(value))
            return value[:at] + bytes([value[at] ^ chance.randrange(1, 256)]) + value[at + 1 :]
        case str():
            return chance.choice([value + "x", value[1:], "room:other", ""])
        case int():
            return value + chance.choice([1_000_000, -1_000_000, 10**15])
        case None:
            return UUID(int=chance.getrandbits(128))
        case UUID():
            return UUID(int=value.int ^ 1)
    return value + chance.choice([1, -1]) * (value.resolution * chance.randrange(1, 10**9))


COLUMNS = (
    *("originator_id", "originator_version", "topic", "state", "notification_id"),
    *("stream", "subject", "recorded_at", "recorded_by", "key_id"),
)


async def test_no_column_of_the_log_is_left_out(sealed: Database) -> None:
    async with owner(sealed) as connection:
        row = await connection.fetchrow("SELECT * FROM stored_events LIMIT 1")
    assert row is not None
    assert set(row.keys()) == set(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_change_of_any_column_anywhere_shows_at_its_position(
    sealed: Database, evil: "asyncpg.Connection[Any]", column: str
) -> None:
    chance = random.Random(column)
    rows = await evil.fetch("SELECT * FROM stored_events ORDER BY notification_id")
    for row in chance.sample(rows, 12):
        changed = other(row[column], chance)
        query = f"UPDATE stored_events SET {column} = $1 WHERE notification_id = $2"
        await evil.execute(query, changed, row["notification_id"])
        found = await first_bad(sealed)
        if column == "notification_id":  # gone from where it was, or before it as one put in
            assert found == min(row["notification_id"], changed)
        else:
            assert found == row["notification_id"], (row[column], changed)
        at = changed if column == "notification_id" else row["notification_id"]
        await evil.execute(
            f"UPDATE stored_events SET {column} = $1 WHERE notification_id = $2", row[column], at
        )
    assert await first_bad(sealed) is None


async def test_a_key_taken_out_of_the_row_shows(sealed: Database, evil: "asyncpg.Connection[Any]") -> None:
    position = await evil.fetchval("SELECT max(notification_id) FROM stored_events WHERE key_id IS NOT NULL")
    await evil.execute("UPDATE stored_events SET key_id = NULL WHERE notification_id = $1", position)
    assert await first_bad(sealed) == position


@pytest.mark.parametrize(
    "time", ["infinity", "-infinity", "294276-12-31 23:59:59+00", "4713-01-01 00:00:00 BC"]
)
async def test_a_time_that_no_event_can_have_shows(
    sealed: Database, evil: "asyncpg.Connection[Any]", time: str
) -> None:
    position = (await positions(sealed))[100]
    await evil.execute(f"UPDATE stored_events SET recorded_at = '{time}' WHERE notification_id = {position}")
    assert await first_bad(sealed) == position


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b"\xff", b'{"content":{"k":"x","h":"","c":""}}'])
async def test_bytes_that_are_no_event_show(
    sealed: Database, evil: "asyncpg.Connection[Any]", state: bytes
) -> None:
    position = (await positions(sealed))[100]
    await evil.execute("UPDATE stored_events SET state = $1 WHERE notification_id = $2", state, position)
    assert await first_bad(sealed) == position


# Rows


@pytest.mark.parametrize("column", ["notification_id", "originator_version"])
async def test_events_that_changed_places_show_at_the_first(
    sealed: Database, evil: "asyncpg.Connection[Any]", column: str
) -> None:
    first, second = (await positions(sealed))[50:52]
    query = f"SELECT {column} FROM stored_events WHERE notification_id = $1"
    one, two = [await evil.fetchval(query, position) for position in (first, second)]
    for changed, before in ((-1, one), (one, two), (two, -1)):
        await evil.execute(
            f"UPDATE stored_events SET {column} = $1 WHERE {column} = $2 AND stream = 'room:general'",
            changed,
            before,
        )
    assert await first_bad(sealed) == first


@pytest.mark.parametrize("place", [0, 1, 39, 40, 255, 256, 306])
async def test_an_event_that_was_deleted_shows_at_its_position(
    sealed: Database, evil: "asyncpg.Connection[Any]", place: int
) -> None:
    position = (await positions(sealed))[place]
    await evil.execute("DELETE FROM stored_events WHERE notification_id = $1", position)
    assert await first_bad(sealed) == position


@pytest.mark.parametrize("left", [0, 1, 40, 41, 307])
async def test_a_log_whose_tail_was_cut_off_ends_at_its_first_missing_position(
    sealed: Database, evil: "asyncpg.Connection[Any]", left: int
) -> None:
    position = (await positions(sealed))[left]
    await evil.execute("DELETE FROM stored_events WHERE notification_id >= $1", position)
    assert await first_bad(sealed) == position


async def test_an_event_put_in_between_shows_at_its_position(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    position = (await positions(sealed))[120]
    await evil.execute("DELETE FROM stored_events WHERE notification_id = $1", position)
    await evil.execute(
        """INSERT INTO stored_events SELECT originator_id, 9999, topic, state, 0, stream, subject, recorded_at,
           recorded_by, key_id FROM stored_events WHERE notification_id = $1""",
        position - 1,
    )
    assert await first_bad(sealed) == 0
    await evil.execute("UPDATE stored_events SET notification_id = $1 WHERE notification_id = 0", position)
    assert await first_bad(sealed) == position


# The seals


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("UPDATE seals SET hashes = overlay(hashes PLACING '\\x00ff' FROM 65) WHERE first = 80", 82),
        ("UPDATE seals SET positions[3] = 1000000 WHERE first = 80", 82),
        ("UPDATE seals SET checkpoint = replace(checkpoint, 'position', 'Position') WHERE first = 80", 80),
        (
            "UPDATE seals SET checkpoint = (SELECT checkpoint FROM seals WHERE first = 40) WHERE first = 80",
            80,
        ),
        ("UPDATE seals SET checkpoint = '' WHERE first = 80", 80),
        ("UPDATE seal_nodes SET hash = decode(repeat('00', 32), 'hex')", 240),
        ("UPDATE seal_nodes SET number = 1", 240),
        ("UPDATE seal_nodes SET level = 16", 240),
        ("DELETE FROM seal_nodes", 240),
        ("INSERT INTO seal_nodes SELECT 8, 1, hash FROM seal_nodes", 307),
        ("INSERT INTO seal_nodes SELECT 8, 1::bigint << 40, hash FROM seal_nodes", 307),
        ("UPDATE seal_keys SET name = 'onrecord/other'", 0),
        ("UPDATE seal_keys SET wrapped = overlay(wrapped PLACING '\\x00ff' FROM 20)", 0),
        ("UPDATE seal_keys SET public = decode(repeat('00', 32), 'hex')", 0),
        ("UPDATE seal_keys SET number = 2, endorsement = checkpoint FROM seals WHERE first = 0", 0),
        ("DELETE FROM seal_keys", 0),
    ],
)
async def test_a_changed_seal_shows(
    sealed: Database, evil: "asyncpg.Connection[Any]", change: str, place: int
) -> None:
    await evil.execute(change)
    assert await first_bad(sealed) == (await positions(sealed))[place]


async def test_a_seal_taken_out_shows_at_the_first_event_that_it_sealed(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    await evil.execute("DELETE FROM seals WHERE first = 80")
    assert await first_bad(sealed) == (await positions(sealed))[80]


async def test_a_seal_that_is_not_whole_shows(sealed: Database, evil: "asyncpg.Connection[Any]") -> None:
    for constraint in ("seals_check1", "seals_check2"):
        await evil.execute(f"ALTER TABLE seals DROP CONSTRAINT {constraint}")
    await evil.execute("UPDATE seals SET positions = positions[1:39] WHERE first = 80")
    assert await first_bad(sealed) == (await positions(sealed))[80]


async def test_rooms_that_changed_their_names_show_at_the_first_event_of_either(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    """Each event is whole in itself, with the id that goes with its new stream."""
    async with node(sealed) as one:
        await one.open_room("alice", stream="room:other")
    await seal(sealed)
    assert await first_bad(sealed) is None
    for was, is_now in (("general", "between"), ("other", "general"), ("between", "other")):
        await evil.execute(
            "UPDATE stored_events SET stream = $1, originator_id = $2 WHERE stream = $3",
            f"room:{is_now}",
            stream_id(f"room:{is_now}"),
            f"room:{was}",
        )
    assert await first_bad(sealed) == (await positions(sealed))[0]


async def test_leaves_of_another_version_show_at_the_first(
    sealed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(sealed, "later")
    with monkeypatch.context() as patched:
        patched.setattr(leaf, "VERSION", 2)
        await seal(sealed)
    assert await first_bad(sealed) == (await positions(sealed))[308]


async def test_keys_that_changed_places_or_are_gone_after_a_rotation_show(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    async with owner(sealed) as connection:
        await signing_keys.rotate(connection, KEY_ENCRYPTION_KEY)
    await append(sealed, "later")
    await seal(sealed)
    assert await first_bad(sealed) is None
    where = await positions(sealed)
    await evil.execute("CREATE TABLE kept AS SELECT * FROM seal_keys")
    for change, found in (
        ("DELETE FROM seal_keys WHERE number = 2", where[308]),
        (
            "UPDATE seal_keys k SET public = o.public, wrapped = o.wrapped FROM kept o WHERE o.number = 3 - k.number",
            where[0],
        ),
        (
            "UPDATE seal_keys SET endorsement = checkpoint FROM seals WHERE first = 0 AND number = 2",
            where[0],
        ),
        ("DELETE FROM seal_keys WHERE number = 1", where[0]),
    ):
        await evil.execute(change)
        assert await first_bad(sealed) == found, change
        await evil.execute("DELETE FROM seal_keys")
        await evil.execute("INSERT INTO seal_keys SELECT * FROM kept")
    assert await first_bad(sealed) is None


async def test_the_first_checkpoint_in_the_place_of_the_newest_shows(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    await evil.execute(
        """UPDATE seals SET checkpoint = (SELECT checkpoint FROM seals WHERE first = 0)
           WHERE size = (SELECT max(size) FROM seals)"""
    )
    assert await first_bad(sealed) == (await positions(sealed))[280]


# An attacker with everything but the key


async def rewrite(evil: "asyncpg.Connection[Any]", signer: SigningKey) -> None:
    """Rebuild all seals from the current log, as the sealer would."""
    rows = await evil.fetch(f"SELECT {leaf.COLUMNS}, state FROM stored_events ORDER BY notification_id")
    hashes = [leaf_hash(leaf.encode(leaf.of_row(row, leaf.digest(row["state"])))) for row in rows]
    edge = Frontier()
    nodes = edge.extend(hashes)
    where = [row["position"] for row in rows]
    note = signer.sign(str(Checkpoint(signer.verifier.name, edge.size, edge.root(), where[-1])))
    await evil.execute("DELETE FROM seals")
    await evil.execute("DELETE FROM seal_nodes")
    await evil.execute(
        "INSERT INTO seals VALUES ($1, 0, $2, $3, $4)", edge.size, where, b"".join(hashes), note
    )
    await evil.executemany("INSERT INTO seal_nodes VALUES ($1, $2, $3)", nodes)


async def test_whoever_makes_all_hashes_anew_lacks_the_key(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    where = await positions(sealed)
    name = await evil.fetchval("SELECT name FROM seal_keys")
    await evil.execute(
        "UPDATE stored_events SET recorded_by = 'mallory' WHERE notification_id = $1", where[200]
    )
    forger = SigningKey(name, bytes(32))
    await rewrite(evil, forger)
    assert await first_bad(sealed) == where[0], "signed by nobody known"
    await evil.execute("UPDATE seal_keys SET public = $1", forger.verifier.public)
    assert await first_bad(sealed) == where[0], "a key that the key encryption key does not know"
    note = forger.sign("")
    await evil.execute(
        "INSERT INTO seal_keys SELECT 2, name, public, wrapped, $1 FROM seal_keys WHERE number = 1", note
    )
    assert await first_bad(sealed) == where[0]


async def test_changing_log_and_hashes_under_a_kept_signed_tree_is_found(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    where = await positions(sealed)
    await evil.execute(
        "UPDATE stored_events SET recorded_by = 'mallory' WHERE notification_id = $1", where[100]
    )
    row = await evil.fetchrow(
        f"SELECT {leaf.COLUMNS}, state FROM stored_events WHERE notification_id = $1", where[100]
    )
    assert row is not None
    hashed = leaf_hash(leaf.encode(leaf.of_row(row, leaf.digest(row["state"]))))
    await evil.execute(
        "UPDATE seals SET hashes = overlay(hashes PLACING $1 FROM 32 * 20 + 1) WHERE first = 80", hashed
    )
    assert await first_bad(sealed) == where[80], "the first of those that were signed together"


async def test_truncated_log_and_seals_fail_against_an_external_checkpoint(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    kept = await checkpoint(sealed)
    where = await positions(sealed)
    await evil.execute("DELETE FROM stored_events WHERE notification_id >= $1", where[200])
    await evil.execute("DELETE FROM seals WHERE size > 200")
    await evil.execute("DELETE FROM seal_nodes")
    assert await first_bad(sealed) is None, "nothing in the database can tell"
    assert await first_bad(sealed, against=kept) == where[199] + 1
    await append(sealed, "rewritten", *map(str, range(120)))
    await seal(sealed)
    assert await first_bad(sealed) is None
    found = await first_bad(sealed, against=kept)
    assert found == (await positions(sealed))[307], "up to here it is not what was signed"


async def test_a_checkpoint_of_another_log_is_not_taken_for_one_of_this(sealed: Database) -> None:
    other = SigningKey("onrecord/other", bytes(32))
    kept = other.sign(str(Checkpoint("onrecord/other", 1, bytes(32), 1)))
    for against in (kept, "", "no note\n", (await checkpoint(sealed)).replace("308", "307")):
        assert await first_bad(sealed, against=against) == (await positions(sealed))[0]


# Append-only by force


@pytest.mark.parametrize("table", [table for table in TABLES if table != "stored_events"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
async def test_nobody_changes_a_seal_without_switching_the_trigger_off(
    sealed: Database, table: str, change: str
) -> None:
    column = {"seals": "size", "seal_nodes": "number", "seal_keys": "number"}[table]
    for role in ("origin", "replica"):
        async with owner(sealed) as connection:
            await connection.execute(f"SET session_replication_role = {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(change.format(table, column, column))


async def test_only_the_wrapping_of_a_seal_key_may_change(sealed: Database) -> None:
    async with owner(sealed) as connection:
        assert await connection.execute("UPDATE seal_keys SET wrapped = wrapped") == "UPDATE 1"
        for column in ("name", "public", "endorsement"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(f"UPDATE seal_keys SET {column} = {column}")
