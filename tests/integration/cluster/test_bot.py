"""The example of a bot: killed and started again with an old cursor, it answers each message once."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.clients.native import Client, client
from tests.support.environment import ROOT, environment, token
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.waiting import until

BOT = ROOT / "examples" / "bot.py"


@asynccontextmanager
async def bot(address: str, place: Path) -> AsyncIterator[Process]:
    """Run the bot, and kill it at the end unless it ended by itself."""
    env = {**os.environ, "CHAT": address, "TOKEN": token("echo")}
    process = await asyncio.create_subprocess_exec(sys.executable, BOT, "general", cwd=place, env=env)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def answers(alice: Client) -> list[str]:
    return [event["content"] for event in alice.events("message:new", roomId="general", userId="echo")]


async def test_a_killed_bot_answers_each_message_once(database: Database, tmp_path: Path) -> None:
    cursor = tmp_path / "bot.cursor"
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
    cursor = tmp_path / "bot.cursor"
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
