"""Rows that only the owner of the tables can make, against the order of `chat_append`: each shows, sealed or not."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.audit.proof.sealer import Sealer
from service.runtime import supervise
from tests.support.environment import environment
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY
from tests.support.eventstore.sealed_logs import (
    append,
    attacker,
    fill,
    first_bad,
    owner,
    positions,
    seal,
    verified,
)
from tests.support.processes.processes import run
from tests.support.servers.databases import Database
from tests.support.waiting import until

FAR = 9_200_000_000_000_000_000
"""A position from which few are left."""

MADE_UP = """
    INSERT INTO stored_events (originator_id, originator_version, topic, state, notification_id, stream, subject,
        recorded_at, recorded_by)
    SELECT '6f0a2f0e-6a57-5e0b-9c43-0f6e52c0a7d1', {seq}, topic, '{{"user":"bob"}}', {position}, 'room:made-up',
        subject, {at}, recorded_by
    FROM (SELECT *, recorded_at AS at FROM stored_events ORDER BY notification_id DESC LIMIT 1) last
    RETURNING notification_id
"""
NEXT = "nextval('stored_events_notification_id_seq')"


@pytest.fixture
async def evil(sealed: Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    async with attacker(sealed) as connection:
        yield connection


async def make_up(
    evil: "asyncpg.Connection[Any]", *, seq: str = "1", position: str = NEXT, at: str = "at"
) -> int:
    """Put a row of a stream of its own into the log; return its position."""
    return int(await evil.fetchval(MADE_UP.format(seq=seq, position=position, at=at)))


@pytest.mark.parametrize(
    "row",
    [
        {"position": str(FAR), "at": "'9999-01-01 00:00+00'"},
        {"position": str(FAR)},
        {"at": "'9999-01-01 00:00+00'"},
        {"at": "clock_timestamp() + interval '1 day'"},
        {"at": "at - interval '1 microsecond'"},
        {"at": "'-infinity'"},
        {"seq": "2"},
    ],
    ids=lambda row: " ".join(f"{name} {value}" for name, value in row.items()),
)
async def test_a_row_out_of_order_shows_sealed_or_not(
    sealed: Database, evil: "asyncpg.Connection[Any]", row: dict[str, str]
) -> None:
    position = await make_up(evil, **row)
    assert await first_bad(sealed) == position
    await seal(sealed)
    assert await first_bad(sealed) == position


async def test_the_command_names_a_row_that_is_far_ahead(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    await make_up(evil, position=str(FAR), at="'9999-01-01 00:00+00'")
    key = base64.b64encode(KEY_ENCRYPTION_KEY).decode()
    env = environment(sealed, ONRECORD_KEY_ENCRYPTION_KEY=key)
    code, out, words = await run(env, "audit", "verify")
    assert (code, out) == (1, f"bad {FAR}\n")
    assert words.startswith(f"Position {FAR}: ")


async def test_a_row_at_no_time_is_named_by_the_sealer(
    sealed: Database, evil: "asyncpg.Connection[Any]", caplog: pytest.LogCaptureFixture
) -> None:
    position = await make_up(evil, at="'infinity'")
    assert await first_bad(sealed) == position
    made = Sealer(lambda: asyncpg.connect(sealed.worker_url), KEY_ENCRYPTION_KEY, interval=0.05)
    async with supervise.background(seal=made.run):
        await until(lambda: "seals_broken" in caplog.text)
    (record,) = (record for record in caplog.records if record.message == "seals_broken")
    assert f"position {position} " in record.__dict__["problem"]


@pytest.mark.parametrize("position", ["0", "-1", str(-FAR)])
async def test_a_row_before_the_first_position_shows(database: Database, position: str) -> None:
    """No reader of the log looks there: each begins after position 0."""
    await fill(database)
    assert await verified(database) == (0, 28, (await _recorded(database))[0])
    async with attacker(database) as evil:
        await make_up(evil, position=position, at="(SELECT min(recorded_at) FROM stored_events)")
    assert await first_bad(database) == int(position)


async def test_the_first_of_several_rows_out_of_order_is_named(database: Database) -> None:
    await fill(database)
    where = await positions(database)
    async with attacker(database) as evil:
        for position in (where[7], where[20]):
            await evil.execute(
                "UPDATE stored_events SET recorded_at = recorded_at - interval '1 hour' WHERE notification_id = $1",
                position,
            )
    assert await first_bad(database) == where[7]


async def test_positions_that_skip_are_in_order(sealed: Database) -> None:
    async with owner(sealed) as connection:
        await connection.execute(f"SELECT {NEXT}, {NEXT}, {NEXT}")
    await append(sealed, "after a gap")
    assert (await verified(sealed))[:2] == (308, 1)
    await seal(sealed)
    assert (await verified(sealed))[:2] == (309, 0)


async def test_a_time_that_a_clock_set_back_can_explain_is_no_fault(
    sealed: Database, evil: "asyncpg.Connection[Any]"
) -> None:
    position = await make_up(evil, at="clock_timestamp() + interval '50 seconds'")
    assert (await verified(sealed))[:2] == (308, 1)
    await evil.execute(
        "UPDATE stored_events SET recorded_at = recorded_at + interval '1 hour' WHERE notification_id = $1",
        position,
    )
    assert await first_bad(sealed) == position


@pytest.mark.parametrize(
    ("size", "first", "at"),
    [
        (FAR, FAR - 1, f"{{{FAR}}}"),
        (309, 308, f"{{{FAR}}}"),
        (309, 308, "{1}"),
        (309, 308, "{NULL}"),
        (309, 308, "{{309}}"),
        (309, 308, "{309}"),
        (310, 308, "{309,NULL}"),
    ],
)
@pytest.mark.parametrize("note", ["''", "(SELECT checkpoint FROM seals ORDER BY size DESC LIMIT 1)"])
async def test_a_made_up_seal_shows_where_the_log_is_sealed_no_more(
    sealed: Database, evil: "asyncpg.Connection[Any]", size: int, first: int, at: str, note: str
) -> None:
    last = (await positions(sealed))[-1]
    await append(sealed, "said after the seals")
    hashes = "decode(repeat('00', 32 * ($1 - $2)::integer), 'hex')"
    await evil.execute(
        f"INSERT INTO seals VALUES ($1::bigint, $2::bigint, '{at}', {hashes}, {note})", size, first
    )
    found = await first_bad(sealed)
    assert found is not None
    assert found > last or found == 1


@pytest.mark.parametrize("number", [2**63 - 1, 2**55])
async def test_a_made_up_subtree_shows(
    sealed: Database, evil: "asyncpg.Connection[Any]", number: int
) -> None:
    await evil.execute("INSERT INTO seal_nodes VALUES (8, $1, decode(repeat('00', 32), 'hex'))", number)
    assert await first_bad(sealed) == (await positions(sealed))[-1]


async def _recorded(database: Database) -> list[Any]:
    async with owner(database) as connection:
        rows = await connection.fetch("SELECT recorded_at FROM stored_events ORDER BY notification_id")
    return [row[0] for row in rows]
