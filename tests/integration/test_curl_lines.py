"""Every `curl` line of the documents that reads over HTTP is executed as it stands, at the address of a test's node."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clients.native import client
from tests.support.environment import ROOT, environment
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.waiting import projected

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVER = "https://chat.example"
FOLLOWS = "follow=true"
READING = re.compile(rf"^ *(curl .*'{SERVER}/(?:api|audit)/.*)$", re.MULTILINE)
GIVES_TOKEN = re.compile(r"^ *(TOKEN=.*)$", re.MULTILINE)


def lines() -> list[tuple[str, str]]:
    """Return each line with the line before it on its page that gives the token."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in READING.finditer(text):
            token = [given[1] for given in GIVES_TOKEN.finditer(text) if given.start() < line.start()]
            assert token, f"{page.name} does not say where the token of this line comes from: {line[1]}"
            found.append((token[-1], line[1]))
    return found


def test_every_reading_over_http_has_a_curl_line() -> None:
    text = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    tables = re.findall(r"\| GET \| answers \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    rows = re.findall(r"^\| `(/(?:api|audit)/[^`?]+)", "".join(tables), re.MULTILINE)
    assert len(rows) > 15
    called = [re.sub(r"\?.*", "", re.findall(rf"{SERVER}(/[^']*)", line)[0]) for _, line in lines()]
    patterns = {row: re.sub(r"\{\w+\}", "[^/]+", row) for row in rows}
    missing = [row for row, form in patterns.items() if not any(re.fullmatch(form, path) for path in called)]
    assert not missing


@pytest.fixture
async def env(database: Database) -> AsyncIterator[dict[str, str]]:
    """A node with the room that the lines name, in which Ann and Bob talk; `CHAT` is its address."""
    made = environment(database, ONRECORD_SHOW_READINGS="true")
    async with running(made, "serve") as node, running(made, "project", "run"):
        async with client(node.url, "ann", name="Ann") as ann, client(node.url, "bob", name="Bob") as bob:
            await ann.say("room:create", roomId="general", name="General", members=["bob"])
            for number in range(3):
                await bob.post("general", f"no. {number}")
            await ann.say("message:pin", roomId="general", messageId=5)
            await ann.say("message:read", roomId="general", messageId=6)
        await projected(database)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        yield made | {"PATH": path, "CHAT": node.address}


@pytest.mark.needs("curl", "jq")
async def test_the_curl_lines_of_the_documents_are_answered(env: dict[str, str]) -> None:
    for token, line in lines():
        script = f"set -o pipefail\n{token}\n{line}".replace(SERVER, env["CHAT"])
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        if FOLLOWS in line:
            answer = await process.stdout.readline()
            os.killpg(process.pid, 15)
            await process.communicate()
        else:
            answer, _ = await process.communicate()
            assert process.returncode == 0, line
        answers = [json.loads(each) for each in answer.splitlines()]
        assert answers or "jq" in line, line
        assert not any(isinstance(each, dict) and "code" in each and "status" in each for each in answers), (
            line,
            answers,
        )
