"""`onrecord dev`: every killed process is restarted, and nothing acknowledged is lost."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from service.config.settings import BY_VARIABLE
from tests.support.clients.native import Client, Refused, client
from tests.support.environment import SECRET
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, run, running

pytestmark = pytest.mark.logs(*OUTAGE)


def environment(place: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in BY_VARIABLE}
    return inherited | {
        "ONRECORD_DATA_DIR": str(place),
        "ONRECORD_PORT": "0",
        "ONRECORD_JWT_SECRET": SECRET,
    }


def servers(node: Process) -> Iterator[psutil.Process]:
    """Find the servers that `dev` runs."""
    for child in psutil.Process(node.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                yield child


async def post(alice: Client, content: str) -> int:
    """Post until it is acknowledged, as a client does."""
    while True:
        try:
            return int((await alice.post("general", content, ref=content))["seq"])
        except Refused as refused:
            assert refused.error["retryable"], refused.error
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("program", ["postgres", "valkey"])
async def test_a_killed_server_is_started_again_and_people_go_on(place: Path, program: str) -> None:
    env = environment(place)
    async with running(env, "dev") as node, client(node.url, "alice") as alice:
        await alice.join("general")
        before = await post(alice, "before")
        addresses = (place / "servers.json").read_text()
        (killed,) = [server for server in servers(node) if program in server.name()]
        killed.kill()
        name = {"postgres": "PostgreSQL", "valkey": "Valkey"}[program]
        said = f"server_started_again server={name}"
        async with asyncio.timeout(60):
            while not any(said in line for line in node.words):
                await asyncio.sleep(0.05)
        assert await post(alice, "after") == before + 1
        assert (place / "servers.json").read_text() == addresses
        code, lines, words = await run(env, "audit", "replay", "--room", "general")
        assert code == 0, words
        posted = [event for event in map(json.loads, lines.splitlines()) if event["type"] == "MessagePosted"]
        assert [event["content"] for event in posted] == ["before", "after"]
        left = list(servers(node))
    assert [server for server in left if server.is_running()] == [], "what was started again was not stopped"
