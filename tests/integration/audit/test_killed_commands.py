"""Commands that are killed in the middle: nothing half done passes for done, and running them again finishes.

Real processes and SIGKILL at named points of the program (`tests.support.processes.killed`); what is left behind is
looked at.
"""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.audit.erasures import ERASE, long_ago
from tests.support.audit.proof import all_sealed, offline
from tests.support.clients.native import client
from tests.support.environment import KEY_ENCRYPTION_KEY, environment
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, ended, run, start
from tests.support.servers.databases import Database
from tests.support.waiting import projected, until

pytestmark = pytest.mark.logs(*OUTAGE)

NEW = base64.b64encode(bytes(range(32))).decode()


async def killed(env: dict[str, str], point: str, *command: str) -> None:
    """Run a command to the point at which it is killed; it has written nothing to stdout by then."""
    code, out, err = await ended(
        await start(env, *command, program=("tests.support.processes.killed", point))
    )
    assert code == -signal.SIGKILL, err
    assert out == "", "what is not done is not said to be"


async def talk(node: Process) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob", name="Bob") as bob:
        for room in ("general", "other"):
            await alice.join(room)
            await bob.join(room)
            for number in range(5):
                await alice.post(room, f"hers {number}")
        await bob.post("general", "his")


def keys_and_erasures(database: Database) -> tuple[int, int]:
    """Return how many keys of alice's live, and how often it is on the record that she is erased."""
    with psycopg.connect(database.superuser_url) as owner:
        row = owner.execute(
            """SELECT (SELECT count(*) FROM person_keys WHERE person = 'alice' AND wrapped IS NOT NULL),
                (SELECT count(*) FROM stored_events WHERE topic = 'person.PersonErased.v1')"""
        ).fetchone()
    assert row is not None
    return row[0], row[1]


async def words_left(env: dict[str, str]) -> int:
    """Return how many messages of alice's an auditor reads."""
    code, lines, words = await run(env, "audit", "replay", "--room", "general")
    assert code == 0, words
    return lines.count('"hers ')


ERASING = {
    "before anything": ("service.audit.privacy.erasure:require_person:after:1", (1, 0)),
    "when it is on the record": ("service.cli.erasure:erase:after:1", (0, 1)),
    "when they have left the first of two rooms": (
        "service.audit.privacy.leave_rooms:append_one:after:1",
        (0, 1),
    ),
    "when they have left all": ("service.cli.erasure:leave_rooms:after:1", (0, 1)),
    "before it is said": ("service.cli.erasure:print_as:before:1", (0, 1)),
}


@pytest.mark.parametrize("where", ERASING)
@pytest.mark.usefixtures("projector")
async def test_killed_erasure_is_atomic_and_completes_when_repeated(
    node: Process, database: Database, where: str
) -> None:
    await talk(node)
    await projected(database)
    env = environment(database)
    point, left = ERASING[where]
    await killed(env, point, *ERASE)
    assert keys_and_erasures(database) == left
    assert await words_left(env) == (5 if left == (1, 0) else 0)
    code, summary, words = await run(env, *ERASE)
    assert code == 0, words
    assert json.loads(summary)["purged"] is True
    assert keys_and_erasures(database) == (0, 1)
    assert await words_left(env) == 0
    async with client(node.url, "bob") as bob:
        for room in ("general", "other"):
            members = None
            while members != [("bob", "owner")]:  # the node learns of it shortly after the command
                listed = (await bob.say("room:members", roomId=room))["members"]
                members = [(one["userId"], one["role"]) for one in listed]
                await asyncio.sleep(0.1)
    await all_sealed(database)
    assert (await run(env, "audit", "verify", "--words"))[0] == 0


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    """Hold the lock of the log, so that writers wait."""
    async with await psycopg.AsyncConnection.connect(database.superuser_url) as holder:
        await holder.execute("SELECT pg_advisory_xact_lock(7236109)")
        yield holder


AT_IT = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT * FROM erase_person%'"
"""Finds a connection that runs an erasure."""


async def test_erasure_killed_during_its_transaction_is_atomic(node: Process, database: Database) -> None:
    await talk(node)
    env = environment(database)
    async with locked(database) as holder:
        started = await start(env, *ERASE)
        waiting = f"{AT_IT} AND wait_event = 'advisory'"

        async def waits() -> bool:
            async with await psycopg.AsyncConnection.connect(
                database.superuser_url, autocommit=True
            ) as other:
                return await (await other.execute(waiting)).fetchone() is not None

        await until(waits)
        started.process.kill()
        await ended(started)
        await holder.rollback()

    async def over() -> bool:
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as other:
            return await (await other.execute(AT_IT)).fetchone() is None

    await until(over)
    assert keys_and_erasures(database) in ((1, 0), (0, 1))
    assert (await run(env, *ERASE))[0] == 0
    assert keys_and_erasures(database) == (0, 1)
    assert await words_left(env) == 0


EXPIRING = {
    "while words are carried over": "service.audit.privacy.retention_backfill:_Backfill._carried:after:3,"
    "service.audit.privacy.retention_backfill:PAGE=1",
    "before the first key is replaced": "service.audit.privacy.retention_backfill:_Backfill._retire:before:1",
    "between two keys": "service.audit.privacy.retention_backfill:_Backfill._retire:after:1",
    "when all keys are replaced": "service.audit.privacy.retention:backfill:after:1",
    "before it is said": "service.cli.retention:print_as:before:1",
}


@pytest.mark.parametrize("where", EXPIRING)
@pytest.mark.usefixtures("projector")
async def test_a_retention_that_is_killed_loses_nothing_and_goes_on(
    node: Process, database: Database, where: str
) -> None:
    env = environment(database)
    await talk(node)
    await projected(database)
    long_ago(database)
    async with client(node.url, "alice") as alice:
        await alice.post("general", "hers today")
    assert (await run(env, "audit", "retention", "--room", "general", "--days", "30"))[0] == 0
    await killed(env, EXPIRING[where], "audit", "expire")
    _, lines, _ = await run(env, "audit", "replay", "--room", "other")
    assert lines.count('"hers ') == 5, "nothing of what stays is lost at any moment"
    assert await words_left(env) in (1, 6)
    assert (await run(env, "audit", "expire"))[0] == 0
    assert await words_left(env) == 1
    _, lines, _ = await run(env, "audit", "replay", "--room", "other")
    assert lines.count('"hers ') == 5
    with psycopg.connect(database.superuser_url) as owner:
        row = owner.execute(
            "SELECT count(*) FROM person_keys WHERE scope = '' AND wrapped IS NOT NULL"
        ).fetchone()
    assert row == (2,), "each has one key for everything"


ROTATING = {
    "between the keys that sign": "service.audit.proof.signing_keys:Wrapping.wrap:after:1",
    "between people's keys and the keys that sign": "service.cli.keys:rewrap:before:1",
    "between two people's keys": "service.encryption.rewrap:_counted:after:2,service.encryption.rewrap:BATCH=1",
    "before it is said": "service.cli.keys:print_json:before:1",
}


@pytest.mark.parametrize("where", ROTATING)
@pytest.mark.usefixtures("projector")
@pytest.mark.logs("seals_broken")
async def test_killed_rotation_keeps_every_key_readable_and_resumes(
    node: Process, database: Database, where: str
) -> None:
    await talk(node)
    await all_sealed(database)
    both = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=f"{NEW},{KEY_ENCRYPTION_KEY}")
    alone = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=NEW)
    await killed(both, ROTATING[where], "keys", "rotate")
    code, status, words = await run(both, "keys", "status")
    assert (code, json.loads(status)["unknown"]) == (0, 0), words
    assert await words_left(both) == 5, "what is half done reads as before"
    assert (await run(both, "audit", "verify"))[0] == 0
    code, status, _ = await run(both, "keys", "rotate")
    assert (code, json.loads(status)) == (0, {"current": 2, "older": 0, "unknown": 0})
    assert await words_left(alone) == 5
    assert (await run(alone, "audit", "verify"))[0] == 0


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.usefixtures("projector")
async def test_a_new_signing_key_whose_making_is_killed_is_there_or_not(
    node: Process, database: Database, tmp_path: Path, where: str
) -> None:
    await talk(node)
    await all_sealed(database)
    env = environment(database)
    kept = tmp_path / "kept"
    kept.write_text((await run(env, "audit", "checkpoint"))[1])
    await killed(env, f"service.audit.proof.signing_keys:_insert:{where}:1", "audit", "keys", "--rotate")
    code, keys, words = await run(env, "audit", "keys")
    assert (code, len(keys.splitlines())) == (0, 1 if where == "before" else 2), words
    assert (await run(env, "audit", "keys", "--rotate"))[0] == 0
    async with client(node.url, "bob") as bob:
        await bob.post("general", "later")
    await all_sealed(database)
    assert (await run(env, "audit", "verify", "--against", str(kept)))[0] == 0


def texts(place: Path) -> str:
    """Return all that is in a directory."""
    return "".join(file.read_text(errors="replace") for file in sorted(place.iterdir()))


EXPORTING = {
    "when it has begun": "service.audit.export.export:_begin:after:1",
    "while events are written": "service.audit.proof.proof_record:disclosed:after:8,service.audit.export.export:PAGE=3",
    "before the pages": "service.audit.export.html_pages:write:before:1",
    "between pages and manifest": "service.audit.export.export:_finish:before:1",
    "before the manifest is in its place": "service.audit.export.export:_digest:after:2",
    "when all is written": "service.audit.export.export:_finish:after:1",
    "when all is written but to say so": "service.audit.export.export:_write:after:2",
}


@pytest.mark.parametrize("where", EXPORTING)
@pytest.mark.usefixtures("projector")
async def test_an_export_that_is_killed_is_no_export_and_goes_on(
    node: Process, database: Database, tmp_path: Path, where: str
) -> None:
    await talk(node)
    await all_sealed(database)
    env = environment(database)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, done, _ = await run(env, "audit", "export", "--out", str(whole), "--room", "general")
    assert code == 0
    command = ("audit", "export", "--out", str(broken), "--room", "general")
    await killed(env, EXPORTING[where], *command)
    finished = where == "when all is written"
    code, said = await offline(str(broken))
    assert (code == 0) is finished, said
    if not finished:
        code, said, words = await run(env, *command)
        assert (code, said) == (0, done.replace(str(whole), str(broken))), words
    assert (await offline(str(broken)))[0] == 0
    assert texts(broken).count("hers ") == texts(whole).count("hers ") > 0
    assert not list(broken.glob("*.new"))
    assert (await run(env, *command))[0] == 1, "a whole one is not written over"


@pytest.mark.usefixtures("projector")
async def test_an_export_that_goes_on_after_an_erasure_holds_none_of_the_words(
    node: Process, database: Database, tmp_path: Path
) -> None:
    await talk(node)
    await all_sealed(database)
    env = environment(database)
    command = ("audit", "export", "--out", str(tmp_path), "--room", "general")
    await killed(env, "service.audit.export.html_pages:write:before:1", *command)
    assert "hers" in texts(tmp_path), "they are found before"
    assert (await run(env, *ERASE))[0] == 0
    assert (await run(env, *command))[0] == 0
    assert "hers" not in texts(tmp_path)
    assert (await offline(str(tmp_path)))[0] == 0
