"""Reading the record is on the record, before anything is given."""

import argparse
import json
import os
import pwd
from pathlib import Path

import pytest

from service.cli.arguments import parser
from tests.support.audit.proof import all_sealed
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.eventstore.log_node import stored
from tests.support.http.audits import readings
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database

OPERATOR = "os:" + pwd.getpwuid(os.getuid()).pw_name


READS = {"replay", "room", "person", "prove", "export"}
SHOWS_NOBODY = {"checkpoint", "extension", "keys", "verify"}
ACTS = {"erase", "erase-again", "hold", "release", "retention", "expire"}
SHOWS_WHAT_OPERATORS_DID = {"erasures", "holds"}


def test_of_every_command_it_is_known_whether_it_reads_the_record() -> None:
    """The author of a new one decides; those that read are in the test below."""
    assert subcommands(subcommands(parser())["audit"]).keys() == (
        READS | SHOWS_NOBODY | ACTS | SHOWS_WHAT_OPERATORS_DID
    )


def subcommands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (found,) = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


@pytest.mark.usefixtures("projector")
async def test_every_command_that_reads_is_recorded_with_what_it_asked_for(
    node: Process, database: Database, tmp_path: Path
) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
        await alice.post("general", "hello")
    await all_sealed(database)
    env = environment(database)
    seen = set[str]()
    for command, reading in (
        (("replay", "--room", "general", "--from-seq", "2"), {"what": "replay", "asked": {"from_seq": "2"}}),
        (("room", "general"), {"what": "room"}),
        (("room", "general", "--at", "3"), {"what": "room", "asked": {"at": "3"}}),
        (
            ("room", "general", "--diff", "2026-01-01T00:00:00Z"),
            {"what": "changes", "asked": {"from": "2026-01-01T00:00:00.000000Z"}},
        ),
        (
            ("person", "alice", "--room", "general", "--at", "2"),
            {"what": "view", "person": "alice", "asked": {"at": "2"}},
        ),
        (("prove", "--room", "general", "--seq", "1"), {"what": "proof", "asked": {"seq": "1"}}),
        (("export", "--out", str(tmp_path / "export"), "--room", "general"), {"what": "export"}),
    ):
        seen.add(command[0])
        assert (await run(env, "audit", *command))[0] == 0
        by, found = (await readings(database))[-1]
        assert (by, found) == (OPERATOR, {"via": "cli", "room": "general", **reading}), command
    assert seen == READS
    await run(env, "audit", "export", "--out", str(tmp_path / "all"), "--all")
    await run(env, "audit", "export", "--out", str(tmp_path / "alice"), "--person", "alice")
    assert [reading for _, reading in (await readings(database))[-2:]] == [
        {"what": "export", "via": "cli"},
        {"what": "export", "via": "cli", "person": "alice"},
    ]
    count = len(await readings(database))
    for word in ("checkpoint", "verify", "keys"):
        await run(env, "audit", word)
    assert len(await readings(database)) == count, "what shows nobody's doings is no reading"


async def test_who_shares_an_account_is_told_apart_by_what_they_say_they_are(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
    env = environment(database, ONRECORD_OPERATOR="ann@example.org")
    assert (await run(env, "audit", "replay", "--room", "general"))[0] == 0
    assert (await readings(database))[-1][0] == f"{OPERATOR}/ann@example.org"
    code, placed, _ = await run(env, "audit", "hold", "--room", "general", "--ground", "case 7")
    assert (code, json.loads(placed)["by"]) == (0, f"{OPERATOR}/ann@example.org")
    code, _, words = await run({**env, "ONRECORD_OPERATOR": "os:root/x"}, "audit", "holds")
    assert code == 2
    assert "ONRECORD_OPERATOR has to be letters" in words


async def test_what_cannot_be_recorded_is_not_given(node: Process, database: Database) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
    await stored(database, "REVOKE EXECUTE ON FUNCTION chat_append FROM onrecord_node")
    for command in (("replay", "--room", "general"), ("room", "general")):
        code, out, words = await run(environment(database), "audit", *command)
        assert (code, out) == (2, "")
        assert "cannot be recorded, so nothing is shown" in words
        assert "Traceback" not in words


async def test_what_was_asked_for_is_recorded_though_it_is_not_there(database: Database) -> None:
    assert (await run(environment(database), "audit", "room", "nowhere"))[0] == 1
    assert await readings(database) == [(OPERATOR, {"what": "room", "via": "cli", "room": "nowhere"})]
