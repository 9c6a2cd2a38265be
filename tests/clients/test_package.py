"""The Python client as it is published: built, installed into an empty environment, and used as the tutorial has it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.support.clients.native import client
from tests.support.environment import ROOT, token
from tests.support.needs import NOT_RUN
from tests.support.processes.processes import Process
from tests.support.waiting import until

PROJECT = ROOT / "clients" / "python"
TUTORIAL = (ROOT / "docs" / "tutorial" / "python-bot.md").read_text()
BOT = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)[0]
ROOM = "general"

CHATS = f"""
import asyncio, importlib.metadata, os
from onrecord_client import OnRecord

async def main():
    async with OnRecord(os.environ["CHAT"], token=lambda: os.environ["TOKEN"]) as chat:
        room = await chat.join("{ROOM}")
        sent = await room.send("hello")
        async for message in room.stream(sent.seq - 1):
            print(message.content, importlib.metadata.version("onrecord-client"))
            return

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `python -m build` makes: from the sdist, by the build backend of the project."""
    place = tmp_path_factory.mktemp("build")
    source = shutil.copytree(PROJECT, place / "project", ignore=shutil.ignore_patterns("__pycache__", "dist"))
    hatchling = [sys.executable, "-m", "hatchling", "build", "-d", str(place)]
    subprocess.run([*hatchling, "-t", "sdist"], cwd=source, check=True)
    (sdist,) = place.glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "tarfile", "-e", sdist, place / "sdist"], check=True)
    (unpacked,) = (place / "sdist").iterdir()
    subprocess.run([*hatchling, "-t", "wheel"], cwd=unpacked, check=True)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and its only dependency, which is taken from this one; no network."""
    place = tmp_path_factory.mktemp("empty")
    venv.create(place)
    (packages,) = place.glob("lib/*/site-packages")
    websockets = distribution("websockets")
    if (websockets.read_text("direct_url.json") or "").startswith('{"dir_info"'):
        pytest.skip(NOT_RUN + "websockets as a wheel")
    for file in websockets.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)
    return python


def test_the_wheel_has_types_and_one_dependency(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    modules = {f"onrecord_client/{path.name}" for path in (PROJECT / "src" / "onrecord_client").glob("*.py")}
    assert {*modules, "onrecord_client/py.typed"} == {
        name for name in names if not name.split("/")[0].endswith("info")
    }
    assert re.findall(r"^Requires-Dist: (\w+)", metadata, re.MULTILINE) == ["websockets"]
    assert "License-File: LICENSE" in metadata
    assert (PROJECT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


async def test_the_wheel_chats_in_an_empty_environment(python: Path, node: Process, tmp_path: Path) -> None:
    env = {"CHAT": node.url, "TOKEN": token("alice")}
    process = await asyncio.create_subprocess_exec(
        python, "-I", "-W", "error", "-c", CHATS, cwd=tmp_path, env=env, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (out.decode(), process.returncode) == ("hello 0.1.0\n", 0)


@asynccontextmanager
async def bot(python: Path, node: Process, place: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the tutorial's bot; it is killed at the end."""
    env = {"CHAT": node.url, "TOKEN": token("echo"), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(python, "bot.py", cwd=place, env=env)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_the_bot_of_the_tutorial_answers_each_message_once(
    python: Path, node: Process, tmp_path: Path
) -> None:
    assert len([line for line in BOT.splitlines() if line]) <= 15
    (tmp_path / "bot.py").write_text(BOT)
    async with client(node.url, "alice") as alice:

        def answers() -> list[str]:
            return [each["content"] for each in alice.events("message:new", userId="echo")]

        await alice.join(ROOM)
        async with bot(python, node, tmp_path):
            await alice.until(lambda: alice.events("room:user_joined", userId="echo"))
            await alice.post(ROOM, "one")
            await alice.until(lambda: len(answers()) == 1)
            await until((tmp_path / "bot.seen").exists)
            for word in ("two", "three"):
                await alice.post(ROOM, word)
        await alice.post(ROOM, "four")
        async with bot(python, node, tmp_path):
            await alice.until(lambda: "You wrote: four" in answers())
            await alice.post(ROOM, "five")
            await alice.until(lambda: "You wrote: five" in answers())
        assert answers() == [f"You wrote: {word}" for word in ("one", "two", "three", "four", "five")]
