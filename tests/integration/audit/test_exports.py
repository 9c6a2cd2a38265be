"""An export as a command, where what it is written to does not take it: no room, or something in the way."""

import asyncio
import resource
import sys
from pathlib import Path

import pytest

from tests.support.audit.proof import all_sealed, offline
from tests.support.clients.native import client
from tests.support.environment import ROOT, environment
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database

FULL = 40_000
"""Bytes that a file may have, as if the disk was full then."""


async def with_so_much_room(env: dict[str, str], most: int, *command: str) -> tuple[int, str, str]:
    """Run a command none of whose files may be larger; as `run`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", *command,
        cwd=ROOT, env=env | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.usefixtures("projector")
async def test_an_export_without_room_says_so_and_goes_on_when_there_is_some(
    node: Process, database: Database, tmp_path: Path
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for number in range(100):
            await alice.post("general", f"no. {number}")
    await all_sealed(database)
    env = environment(database)
    command = ("audit", "export", "--out", str(tmp_path), "--room", "general")
    code, out, words = await with_so_much_room(env, FULL, *command)
    assert (code, out) == (1, "")
    assert words.startswith("The output cannot be written: ")
    assert len(words.splitlines()) == 1
    assert (await offline(str(tmp_path)))[0] == 1
    written = (tmp_path / "events.ndjson").read_bytes()
    assert len(written) == FULL
    assert (await run(env, *command))[0] == 0
    assert (tmp_path / "events.ndjson").read_bytes().startswith(written[: written.rindex(b"\n")])
    assert (await offline(str(tmp_path)))[0] == 0


async def test_what_is_in_the_way_of_an_export_is_named(
    node: Process, database: Database, tmp_path: Path
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
    (tmp_path / "file").touch()
    env = environment(database)
    for place in ("file", "file/below"):
        code, out, words = await run(env, "audit", "export", "--out", str(tmp_path / place), "--all")
        assert (code, out) == (1, "")
        assert words.startswith(f"{tmp_path / 'file'}")
        assert " cannot be written: " in words
        assert len(words.splitlines()) == 1
