"""What the audit commands print for people: text by `--as text` and on a terminal, JSON for programs."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.audit.proof import all_sealed
from tests.support.clients.native import client
from tests.support.docs import command_line
from tests.support.environment import ROOT, environment
from tests.support.http.audits import ended
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database

TEXT_ALREADY = {"checkpoint", "keys", "verify", "export"}
"""Commands whose output is text in any case."""


@pytest.fixture
async def env(node: Process, database: Database) -> dict[str, str]:
    """A room with two named members, a message that was edited and answered, and one of a person to erase."""
    async with (
        client(node.url, "alice", name="Alice Ng") as alice,
        client(node.url, "bob", name="Bob") as bob,
    ):
        await alice.say("room:create", roomId="plant", name="Plant 7", visibility="private", members=["bob"])
        await alice.post("plant", "The pump\nran dry.\u202e")
        await bob.post("plant", "Yes.", replyTo=4, mentions=["alice"])
        await alice.say("message:edit", roomId="plant", messageId=4, content="It ran dry on Monday.")
        await bob.say("message:read", roomId="plant", messageId=4)
        await bob.say("room:leave", roomId="plant")
    async with client(node.url, "eve", name="Eve") as eve:
        await eve.join("lobby")
        await eve.post("lobby", "hello")
    await ended(database, 3)
    return environment(database)


def on_a_terminal(env: dict[str, str], *command: str) -> str:
    """Return what a command prints on a terminal."""
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "service.cli", *command]
    done = subprocess.run(
        words, check=False, stdout=child, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    os.close(child)
    shown = b""
    try:
        while part := os.read(parent, 65536):
            shown += part
    except OSError:  # the terminal has no other end
        pass
    os.close(parent)
    return shown.decode().replace("\r\n", "\n")


async def test_texts_say_who_was_removed_banned_and_erased(env: dict[str, str], node: Process) -> None:
    async with client(node.url, "alice", name="Alice Ng") as alice:
        for user in ("carol", "dave"):
            await alice.say("room:invite", roomId="plant", userId=user)
        for user, command in (("carol", "room:kick"), ("dave", "room:ban")):
            async with client(node.url, user) as other:
                await other.join("plant")
            await alice.say(command, roomId="plant", userId=user)

    async def text(*words: str) -> str:
        code, out, complaint = await run(env, "audit", *words, "--as", "text")
        assert code == 0, complaint
        return out

    by_alice = r"by Alice Ng \(alice\) on 20\S+ \S+ UTC \(event \d+\)\n"
    room = await text("room", "plant")
    assert re.search(rf"  carol: removed {by_alice}", room)
    assert re.search(rf"  dave: banned for good {by_alice}", room)
    for user, words in (("carol", "removed"), ("dave", "banned for good")):
        assert re.search(rf"standing: {words} {by_alice}", await text("person", user))
        assert re.search(rf"standing: {words} {by_alice}", await text("person", user, "--room", "plant"))
    stranger = await text("person", "eve", "--room", "plant")
    assert stranger.startswith("What Eve (eve) could see of the room plant as of event ")
    await run(env, "audit", "erase", "--person", "eve", "--ground", "GDPR 17")
    moment = r"on 20\S+ \S+ UTC"
    erased = rf"left because of the erasure, {moment} \(event 4\), erased by os:\S+ {moment}\n"
    assert re.search(rf"  eve: {erased}", await text("room", "lobby"))
    assert re.search(rf"\n  erased by os:\S+ {moment}\n", await text("person", "eve"))
    assert re.search(rf"standing: {erased}", await text("person", "eve", "--room", "lobby"))


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("projector")
async def test_every_audit_command_prints_for_people(
    env: dict[str, str], database: Database, tmp_path: Path
) -> None:
    async def text(*words: str) -> str:
        code, out, said = await run(env, "audit", *words, "--as", "text")
        assert code == 0, (words, said)
        assert "{" not in out, words
        asked.add(words[0])
        return out

    asked: set[str] = set()
    replayed = await text("replay", "--room", "plant")
    assert (
        '  Alice Ng (alice)  message posted: author="alice" content="The pump\\nran dry.\\u202e"' in replayed
    )
    assert '  Alice Ng (alice)  member joined: user="bob" (Bob)' in replayed
    assert 'user="bob" (Bob) role="member"\n' in await text("replay", "--room", "plant", "--to-seq", "3")

    room = await text("room", "plant", "--at", "4")
    assert room.startswith("Room Plant 7 (plant) as of event 4, 20")
    assert re.search(r"  Alice Ng \(alice\): owner since 20\S+ \S+ UTC \(event 2\)", room)
    assert " UTC  Alice Ng (alice): The pump\\nran dry.\\u202e\n" in room
    later = await text("room", "plant")
    assert re.search(r"  Bob \(bob\): left on 20\S+ \S+ UTC \(event 7\), had read up to 4\n", later)
    assert "Bob (bob): Yes.  [replies to 4; mentions Alice Ng (alice)]" in later
    changes = await text("room", "plant", "--diff", "4")
    assert "  before:      4  " in changes
    assert "It ran dry on Monday.  [edited 20" in changes

    seen = await text("person", "bob", "--room", "plant")
    assert seen.startswith("What Bob (bob) could see of the room plant as of event 7, 20")
    assert "  could read: events 1 to 7\n" in seen
    rooms = await text("person", "bob")
    assert rooms.startswith("What Bob (bob) could see as of 20")
    assert "  Plant 7 (plant), private, up to event 7\n" in rooms
    day = replayed.split()[1][:10]
    assert (await text("person", "bob", "--at", day)).startswith(f"What Bob (bob) could see on {day} (UTC)\n")

    await all_sealed(database)
    checkpoint = tmp_path / "kept"
    checkpoint.write_text((await run(env, "audit", "checkpoint"))[1])
    assert "Event 4 of the room Plant 7 (plant) (room.MessagePosted.v1)" in await text(
        "prove", "--room", "plant", "--seq", "4"
    )
    extended = await text("extension", "--since", str(checkpoint))
    assert (
        f"The stored events were not compared with it; `onrecord audit verify --against {checkpoint}`"
        in extended
    )

    held = ("--room", "plant", "--ground", "case 12")
    assert "legal hold on the room Plant 7 (plant), placed by os:" in await text("hold", *held)
    assert "legal hold on the room Plant 7 (plant)" in await text("holds")
    assert ", released by os:" in await text("release", *held)
    assert await text("holds") == "No legal hold is in force.\n"
    assert await text("erasures") == "Nobody was erased.\n"
    assert (await text("erase", "--person", "eve", "--ground", "GDPR 17")).startswith("eve was erased 20")
    assert "  eve, by os:" in await text("erasures")
    listed = tmp_path / "erasures"
    listed.write_text((await run(env, "audit", "erasures"))[1])
    assert "eve was already erased" in await text("erase-again", str(listed))
    assert await text("retention", "--room", "plant", "--days", "1") == (
        "The room Plant 7 (plant) keeps content for 1 day (before: for ever).\n"
    )
    assert await text("expire") == "No content has expired.\n"
    names = {path.split()[2] for path, _ in command_line.commands() if path.startswith("onrecord audit ")}
    assert asked == names - TEXT_ALREADY


async def test_ranges_and_numbers_without_an_event_are_reported(env: dict[str, str]) -> None:
    replay = ("audit", "replay", "--room", "plant")
    reversed_ranges = (("--from-seq", "5", "--to-seq", "3"), ("--from", "2026-02-01", "--to", "2026-01-01"))
    for bounds in reversed_ranges:
        assert await run(env, *replay, *bounds) == (2, "", "This range ends before it begins.\n")
    for bound in (("--from-seq", "99"), ("--to", "2020-01-01")):
        assert await run(env, *replay, *bound) == (0, "", "No event of plant is in this range.\n")
    code, _, said = await run(env, "audit", "room", "plant", "--at", "99")
    assert (code, said) == (0, "There is no event 99 in plant yet: its last is 7.\n")
    code, _, said = await run(env, "audit", "prove", "--room", "plant", "--seq", "99")
    assert (code, said) == (1, "There is no event 99 in plant.\n")


async def test_on_a_terminal_text_is_the_default_and_in_a_pipe_json(env: dict[str, str]) -> None:
    for command in (("room", "plant"), ("person", "bob"), ("replay", "--room", "plant")):
        shown = await asyncio.to_thread(on_a_terminal, env, "audit", *command)
        assert "Alice Ng (alice)" in shown or "Bob (bob)" in shown
        assert "{" not in shown
        code, out, _ = await run(env, "audit", *command)
        assert (code, [type(json.loads(line)) for line in out.splitlines()][:1]) == (0, [dict])
        forced = await asyncio.to_thread(on_a_terminal, env, "audit", *command, "--as", "json")
        assert json.loads(forced.splitlines()[0])
