"""A backup is restored under a running node, with PostgreSQL's own tools: losses are reported, epochs stay apart."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from migrations.run import migrate
from service import embedded
from service.config import development
from service.embedded import Servers, account
from tests.support.audit.erasures import dump, heard_by_bob, holds, life
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database, database_of
from tests.support.servers.restore import postgres, renewed, restore
from tests.support.waiting import projected

# A database is dropped and restored under running processes.
pytestmark = pytest.mark.logs(*OUTAGE, "task_failed")


async def test_restore_under_a_running_node_is_announced_and_consistent(
    database: Database, servers: Servers, tmp_path: Path
) -> None:
    backup = tmp_path / "onrecord.dump"
    env = environment(database)
    async with running(env, "serve") as node, running(env, "project", "run"):
        async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
            await alice.join("general")
            await bob.join("general")
            before = [await alice.post("general", f"kept {number}") for number in range(5)]
            await asyncio.to_thread(
                postgres,
                servers,
                "pg_dump",
                "--format=custom",
                "--file",
                backup,
                "--dbname",
                database.owner_url,
            )
            async with client(node.url, "zoe", name="Zoe") as zoe:  # her key is younger than the backup
                await zoe.join("general")
                lost = [await zoe.post("general", f"lost {number}") for number in range(5)]
            old = alice.connected["epoch"]
            epoch = await restore(servers, database, backup)
            assert epoch != old
            assert {await alice.closed(), await bob.closed()} == {4011}
        head = before[-1]["seq"]
        assert lost[-1]["seq"] > head
        cursor = lost[-1]["seq"]
        # With the epoch that the cursor is of, and without, as a client that never kept one.
        async with client(node.url, "alice", {"general": cursor}, epoch=old, name="Alice") as alice:
            assert alice.connected["epoch"] == epoch
            assert alice.connected["rooms"]["general"] == {
                "recovered": False, "head": head, "reason": "epoch_changed",
            }  # fmt: skip
            async with client(node.url, "bob", {"general": cursor}) as bob:
                assert bob.connected["rooms"]["general"] == {
                    "recovered": False, "head": head, "reason": "ahead",
                }  # fmt: skip
                async with client(node.url, "zoe", name="Zoe") as zoe:
                    joined = await zoe.join("general")
                    assert joined["epoch"] == epoch
                    ack = await zoe.post("general", "here again", ref="zoe-again")
                await bob.until(lambda: bob.events("message:new", seq=ack["seq"], content="here again"))
                # A number that was given before the restore to another event.
                assert ack["seq"] <= cursor
            told = (await alice.say("message:history", roomId="general"))["messages"]
            assert [one["content"] for one in told] == [
                *(f"kept {number}" for number in range(5)),
                "here again",
            ]
        await everything_agrees(env)
        assert "task_failed" not in "".join(node.words)
    assert [word for word in node.words if "epoch_renewed" in word]


async def test_a_base_backup_of_the_whole_cluster_serves_under_a_new_epoch(place: Path) -> None:
    first, second = place / "first", place / "second"
    with embedded.servers(first) as servers:
        database = database_of(servers)
        migrate(database.owner_url, database.app_url, database.worker_url)
        async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
            old = alice.connected["epoch"]
            await alice.join("general")
            ack = await alice.post("general", "kept")
            await asyncio.to_thread(_base_backup, servers, second)
            cursor = (await alice.post("general", "lost"))["seq"]
    with embedded.servers(second) as servers:
        database = database_of(servers)
        epoch = await renewed(database)
        env = environment(database)
        async with running(env, "serve") as node, running(env, "project", "run"):
            async with client(node.url, "alice", {"general": cursor}, epoch=old) as alice:
                assert alice.connected["epoch"] == epoch
                assert alice.connected["rooms"]["general"] == {
                    "recovered": False, "head": ack["seq"], "reason": "epoch_changed",
                }  # fmt: skip
                assert (await alice.post("general", "goes on"))["seq"] == cursor
            await everything_agrees(env)
            code, found, _ = await run(env, "doctor")
            assert code == 0, found


def _base_backup(servers: Servers, place: Path) -> None:
    """Copy the running cluster, with the write-ahead log that makes it whole, to where other servers find it."""
    cluster = place / "servers" / "postgres"
    cluster.parent.mkdir(mode=0o700, parents=True)
    postgres(
        servers,
        "pg_basebackup",
        "--checkpoint=fast",
        "--dbname",
        servers.superuser_database_url,
        "--pgdata",
        cluster,
    )
    shutil.copy(servers.data_dir / development.KEYS, place)
    user = account.account()
    for path in (cluster.parent, cluster, *cluster.rglob("*")):
        user.own(path)
    place.chmod(0o711)


async def everything_agrees(env: dict[str, str]) -> None:
    """Wait until the read models are level, then compare everything with the log."""
    while True:
        _, lines, _ = await run(env, "project", "status")
        if all(json.loads(line)["behind"] == 0 for line in lines.splitlines()):
            break
        await asyncio.sleep(0.1)
    code, lines, words = await run(env, "project", "verify")
    assert code == 0, lines + words
    while (await run(env, "audit", "verify"))[0] != 0:
        await asyncio.sleep(0.2)
    code, lines, words = await run(env, "audit", "replay", "--room", "general")
    assert code == 0, words
    seqs = [json.loads(line)["seq"] for line in lines.splitlines()]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_the_epoch_is_printed_and_only_the_owner_renews_it(node: Process, database: Database) -> None:
    async with client(node.url, "alice") as alice:
        env = environment(database)
        assert await run(env, "epoch") == (0, f"{alice.connected['epoch']}\n", "")
        code, out, words = await run(
            {**env, "ONRECORD_MIGRATE_DATABASE_URL": database.app_url}, "epoch", "--renew"
        )
        assert (code, out) == (2, "")
        assert "permission denied for table log_epoch" in words
        epoch = await renewed(database)
        assert await alice.closed() == 4011
    async with client(node.url, "alice") as alice:
        assert alice.connected["epoch"] == epoch


async def erasures_applied(env: dict[str, str], kept: Path) -> tuple[int, list[dict[str, Any]], str]:
    code, out, words = await run(env, "audit", "erase-again", str(kept))
    return code, [json.loads(line) for line in out.splitlines()], words


async def test_who_was_erased_after_a_backup_is_erased_again_in_one_command(
    database: Database, servers: Servers, tmp_path: Path
) -> None:
    backup, kept = tmp_path / "onrecord.dump", tmp_path / "erasures.ndjson"
    env = environment(database)
    async with running(env, "serve") as node, running(env, "project", "run"):
        await life(node, node)
        await projected(database)
        await asyncio.to_thread(
            postgres,
            servers,
            "pg_dump",
            "--format=custom",
            "--file",
            backup,
            "--dbname",
            database.owner_url,
        )
        async with client(node.url, "zoe", name="Zoe") as zoe:  # she came after the backup
            await zoe.join("general")
        for person, ground in (("alice", "case 2026-31"), ("zoe", "case 2026-32")):
            assert (await run(env, "audit", "erase", "--person", person, "--ground", ground))[0] == 0
        code, listed, words = await run(env, "audit", "erasures")
        assert code == 0, words
        kept.write_text(listed)
        assert [json.loads(line)["person"] for line in listed.splitlines()] == ["alice", "zoe"]
        assert not holds(dump(database))
        await restore(servers, database, backup)
        await projected(database)
        assert holds(dump(database)), "the backup brings her words back"
        assert (await run(env, "audit", "erasures")) == (0, "", "")
        # A hold is a hold, also here: the others are erased, and who is not is named.
        assert (await run(env, "audit", "hold", "--person", "alice", "--ground", "case 7"))[0] == 0
        code, done, words = await erasures_applied(env, kept)
        assert (code, done) == (1, [])
        assert "alice cannot be erased: a legal hold is on the person alice." in words
        assert "There is no person zoe on the record." in words
        assert (await run(env, "audit", "release", "--person", "alice", "--ground", "closed"))[0] == 0
        code, done, words = await erasures_applied(env, kept)
        assert (code, [(one["person"], one["ground"], one["purged"]) for one in done]) == (
            0,
            [("alice", "case 2026-31", True)],
        ), words
        assert not holds(dump(database))
        assert not holds(await heard_by_bob(node))
        code, lines, _ = await run(env, "audit", "replay", "--room", "general")
        assert not holds(lines)
        # Again: nothing changes, and what the command printed is a list itself.
        kept.write_text("".join(f"{json.dumps(one)}\n" for one in done))
        code, again, _ = await erasures_applied(env, kept)
        assert (code, [(one["position"], one["keys"]) for one in again]) == (0, [(done[0]["position"], 0)])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('{"person":"alice","ground":"x"}\nnot JSON\n', "Line 2 is not an erasure"),
        ('{"person":"al ice","ground":"x"}\n', "Line 1 is not an erasure"),
        ('{"person":"alice"}\n', "Line 1 is not an erasure"),
        ('{"person":"alice","ground":"two\\nlines"}\n', "Line 1 is not an erasure"),
    ],
)
async def test_a_list_that_is_none_erases_nobody(
    node: Process, database: Database, tmp_path: Path, lines: str, problem: str
) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
    kept = tmp_path / "erasures.ndjson"
    kept.write_text(lines)
    code, done, words = await erasures_applied(environment(database), kept)
    assert (code, done) == (2, [])
    assert problem in words
    assert (await run(environment(database), "audit", "erasures"))[1] == ""
