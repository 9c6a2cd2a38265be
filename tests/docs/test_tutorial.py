"""Every command of the tutorial, executed in order against a real server, with the output that the page shows."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.environment import ROOT
from tests.support.processes.processes import running

PAGE = (ROOT / "docs" / "tutorial" / "ten-minutes.md").read_text()
PROGRAM = re.findall(r"```python\n# chat\.py\n(.*?)```", PAGE, re.DOTALL)[0]
START, EXPORT = "make run", 'export PATH="$PWD/.venv/bin:$PATH" CHAT=http://127.0.0.1:8000'
"""The two commands that the test does itself: it starts what `make run` runs, at a free port."""


def commands() -> list[tuple[str, str]]:
    """Return each command of the page with the output that the page shows."""
    found: list[tuple[str, str]] = []
    for line in re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), re.MULTILINE):
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        else:
            command, output = found[-1]
            found[-1] = (command, f"{output}{line}\n")
    return found


def comparable(output: str) -> str:
    """Return output with its times and the count of verified events replaced."""
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", output)
    return "\n".join(
        line.rstrip() for line in re.sub(r"^ok \d+$", "ok N", output, flags=re.MULTILINE).splitlines()
    )


async def shell(command: str, env: dict[str, str], place: Path) -> str:
    """Return what a command writes."""
    process = await asyncio.create_subprocess_shell(
        command, cwd=place, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    return (await process.communicate())[0].decode()


@pytest.mark.timeout(300)
async def test_every_command_of_the_tutorial_prints_what_the_page_shows(place: Path) -> None:
    steps = commands()
    assert [command for command, _ in steps[:2]] == [START, EXPORT]
    (place / "chat.py").write_text(PROGRAM)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "LC_ALL": "C.UTF-8", "ONRECORD_DATA_DIR": str(place / "data")}
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"  # its notice of a newer pip depends on the day
    async with running(env | {"ONRECORD_PORT": "0"}, "dev") as server:
        env["CHAT"] = server.address
        for command, output in steps[2:]:
            assert comparable(await shell(command, env, place)) == comparable(output), command
        refused = await shell('python chat.py alice "<script>" || echo "exit $?"', env, place)
        assert "exit 1" in refused, refused
        assert "script" in refused, refused
