"""A newcomer's first steps: the client of README and the lines that `make run` prints, run as they stand."""

import asyncio
import json
import re
import sys
from pathlib import Path

from tests.support.clients.native import client
from tests.support.environment import ROOT
from tests.support.processes.processes import Process, start

README = (ROOT / "README.md").read_text()
CLIENT = README.split("## A client in 20 lines")[1].split("\n## ")[0]
PROGRAM = re.findall(r"```python\n(.*?)```", CLIENT, re.DOTALL)[0]
COMMANDS = re.findall(r"^    (.*)$", CLIENT.split("```")[0], re.MULTILINE)
BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
"""The environment of a terminal in which nothing was set."""


async def shell(script: str, place: Path, **env: str) -> tuple[int, str]:
    """Run a script in a terminal of its own; return its exit code and its output."""
    process = await asyncio.create_subprocess_shell(
        script,
        cwd=place,
        env={**BARE, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out = (await process.communicate())[0].decode()
    return process.returncode or 0, out


async def welcome(server: Process) -> str:
    """Read what a server prints until it is ready."""
    assert server.process.stdout is not None
    printed = ""
    while "Ctrl-C" not in printed:
        line = (await server.process.stdout.readline()).decode()
        assert line, printed
        printed += line
    return printed


async def test_the_first_steps_work_as_they_are_printed(place: Path, tmp_path: Path) -> None:
    elsewhere, repository = tmp_path / "elsewhere", tmp_path / "repository"
    elsewhere.mkdir()
    repository.mkdir()
    (repository / ".venv").symlink_to(sys.prefix)
    (repository / "client.py").write_text(PROGRAM)
    data = place / "with a space"
    server = await start({**BARE, "ONRECORD_DATA_DIR": str(data), "ONRECORD_PORT": "0"}, "dev")
    draining = None
    try:
        printed = await welcome(server)
        assert server.process.stderr is not None
        draining = asyncio.create_task(server.process.stderr.read())
        server.address = re.findall(r"http://\S+", printed)[0]

        code, said = await shell("\n".join(COMMANDS), repository, CHAT=server.address)
        assert code == 0, said
        assert "message:new 3 Hello, this is on the record." in said
        _, said = await shell(f"{COMMANDS[0]}\npython client.py 'No Room'", repository, CHAT=server.address)
        assert re.search(r"^error .*'No Room' is not a room id", said, re.MULTILINE), said

        lines = re.findall(r"^ {4}(\S.*)$", printed, re.MULTILINE)
        assert len(lines) == 3, printed
        answers = [await shell(line, elsewhere) for line in lines]
        assert [code for code, _ in answers] == [0, 0, 0], answers
        async with client(server.url, "alice", token=answers[0][1].strip()) as alice:
            assert alice.user == "alice"
        assert answers[2][1].startswith("postgresql://onrecord_reader:")
        events = [json.loads(line) for line in answers[1][1].splitlines()]
        assert events[-1]["content"] == "Hello, this is on the record."
    finally:
        await server.stop()
        if draining is not None:
            await draining
