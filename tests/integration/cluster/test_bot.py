"""The example of a bot: killed and started again with an old cursor, it answers each message once."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.support.clients.native import Client, client
from tests.support.environment import ROOT, environment, token
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.waiting import until

BOT = ROOT / "examples" / "bot.py"


@asynccontextmanager
async def bot(address: str, place: Path, room: str = "general", bearer: str = "") -> AsyncIterator[Process]:
    """Run the bot, and kill it at the end unless it ended by itself."""
    env = {**os.environ, "CHAT": address, "TOKEN": bearer or token("echo")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, BOT, room, cwd=place, env=env, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def last_words(process: Process) -> str:
    """Wait until the bot ends by itself, with an error; return what it printed."""
    _, printed = await process.communicate()
    assert process.returncode == 1
    return printed.decode()


def has_answers(alice: Client, room: str, count: int) -> bool:
    return len(answers(alice, room)) == count


def answers(alice: Client, room: str = "general") -> list[str]:
    return [event["content"] for event in alice.events("message:new", roomId=room, userId="echo")]


async def test_a_killed_bot_answers_each_message_once(database: Database, tmp_path: Path) -> None:
    cursor = tmp_path / "general.cursor"
    async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
        await alice.say("room:create", roomId="general", name="General")
        async with bot(node.address, tmp_path):
            await until(cursor.exists)
            old = cursor.read_text()
            await alice.post("general", "one")
            await alice.until(lambda: answers(alice) == ["You wrote: one"])
        cursor.write_text(old)  # as if the bot had been killed before it stored the cursor
        await alice.post("general", "two")
        async with bot(node.address, tmp_path):
            await alice.until(lambda: "You wrote: two" in answers(alice))
            await alice.post("general", "three")
            await alice.until(lambda: "You wrote: three" in answers(alice))
    assert answers(alice) == ["You wrote: one", "You wrote: two", "You wrote: three"]


async def test_a_bot_answers_a_backlog_larger_than_its_burst_in_order(
    database: Database, tmp_path: Path
) -> None:
    cursor = tmp_path / "general.cursor"
    slow = environment(database, ONRECORD_RATE_PER_SECOND="5", ONRECORD_RATE_BURST="6")
    async with running(slow, "serve") as node, client(node.url, "alice") as alice:
        await alice.say("room:create", roomId="general", name="General")
        async with bot(node.address, tmp_path):
            await until(cursor.exists)
        written = []
        for author in ("bob", "carol", "dave", "erin"):  # each within the burst
            async with client(node.url, author) as speaker:
                await speaker.join("general")
                for number in range(5):
                    await speaker.post("general", f"{author} {number}")
                    written.append(f"You wrote: {author} {number}")
        async with bot(node.address, tmp_path) as process:
            await alice.until(lambda: process.returncode is not None or len(answers(alice)) == len(written))
    assert answers(alice) == written


async def test_two_bots_in_one_directory_have_a_cursor_each(database: Database, tmp_path: Path) -> None:
    async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
        for room in ("general", "other"):
            await alice.say("room:create", roomId=room, name=room)
            async with bot(node.address, tmp_path, room):
                await until((tmp_path / f"{room}.cursor").exists)
            for number in range(3):
                await alice.post(room, str(number))
        for room in ("general", "other"):
            async with bot(node.address, tmp_path, room):
                await until(partial(has_answers, alice, room, 3))


async def test_a_removed_bot_ends_with_the_reason(database: Database, tmp_path: Path) -> None:
    async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
        await alice.say("room:create", roomId="general", name="General")
        async with bot(node.address, tmp_path) as process:
            await until((tmp_path / "general.cursor").exists)
            await alice.say("room:kick", roomId="general", userId="echo")
            assert "The bot is not in general any more (kicked)." in await last_words(process)
        async with bot(node.address, tmp_path) as process:
            assert "The bot is not in general any more (not_a_member)." in await last_words(process)
        async with bot(node.address, tmp_path, bearer=token("echo", expires=1)) as process:
            printed = await last_words(process)
        assert "--ttl" in printed
        assert "Traceback" not in printed


async def test_a_bot_answers_from_its_own_join_on(database: Database, tmp_path: Path) -> None:
    async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
        await alice.say("room:create", roomId="added", name="Added", members=["echo"])
        await alice.post("added", "before its first start")
        async with bot(node.address, tmp_path, "added"):
            await alice.until(lambda: answers(alice, "added") == ["You wrote: before its first start"])
        await alice.say("room:create", roomId="general", name="General")
        await alice.post("general", "before its join")
        async with bot(node.address, tmp_path):
            await until((tmp_path / "general.cursor").exists)
            await alice.post("general", "after its join")
            await alice.until(lambda: answers(alice) == ["You wrote: after its join"])
