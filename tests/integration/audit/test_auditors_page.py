"""The commands of docs/guides/audit-a-room.md, and the output that it shows."""

import asyncio
import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.audit.proof import all_sealed
from tests.support.clients.native import client
from tests.support.environment import ROOT, environment
from tests.support.http.audits import ended
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database

PAGE = (ROOT / "docs" / "guides" / "audit-a-room.md").read_text()
STEPS = PAGE.split("## Step by step")[1].split("\n## ")[0]


def shown() -> list[tuple[str, str]]:
    """Return each command of the page, and what the page says that it prints."""
    blocks = re.findall(r"(?:^    .*\n)+", STEPS, re.MULTILINE)
    lines = [line.removeprefix("    ") for block in blocks for line in block.splitlines()]
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        else:
            command, said = found[-1]
            found[-1] = (command, said + line + "\n")
    return found


def plain(said: str) -> str:
    """Return what a command says without what is different each time: ids, hashes, numbers and times."""
    said = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", said)
    said = re.sub(r"[A-Za-z0-9+/]{40,}=*", "BASE64", said)
    return re.sub(r"[0-9]+", "0", re.sub(r"\n+", "\n", said))


def typed(command: str, env: dict[str, str], place: Path) -> str:
    """Return what a terminal shows of a command."""
    parent, child = pty.openpty()
    try:
        subprocess.run(
            ["/bin/sh", "-c", command], check=False, cwd=place, env=env, stdout=child, stderr=child
        )
    finally:
        os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # what the other end is closed with
        while part := os.read(parent, 65_536):
            shown += part
    os.close(parent)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("projector")
async def test_each_step_prints_what_the_page_says(node: Process, database: Database, tmp_path: Path) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob", name="Bob") as bob:
        await alice.join("general")
        await bob.join("general")
        first = await alice.post("general", "The pump ran dry on Friday.")
        await bob.post("general", "I had closed the valve.")
        await alice.say(
            "message:edit", roomId="general", messageId=first["seq"], content="It ran dry on Monday."
        )
    await ended(database, 2)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(database) | {"PATH": path, "LC_ALL": "C.UTF-8"}
    steps = shown()
    assert len(steps) > 8
    for command, said in steps:
        await all_sealed(database)  # the reading before, too
        out = await asyncio.to_thread(typed, command, env, tmp_path)
        begins, more, _ = said.partition(" ...\n")
        assert plain(out if not more else out[: len(begins)]) == plain(begins), command
