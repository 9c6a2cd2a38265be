"""The guide to a front end on another origin, followed to the letter: its server, its pages, and what a page sees."""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import chromium
from tests.support.clients.page import newcomer
from tests.support.clients.socketio import MODULES, installed
from tests.support.environment import ROOT
from tests.support.processes.processes import running
from tests.support.waiting import until

pytestmark = pytest.mark.needs("node", "npm", "chromium")

GUIDE = (ROOT / "docs" / "guides" / "serve-the-front-end-elsewhere.md").read_text()
COMMANDS = re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL), re.MULTILINE)
PAGES = re.findall(r"Save this as `(\w+\.html)`.*?```html\n(.*?)```", GUIDE, re.DOTALL)
FIXED = "fixed.html"
"""The page without a library, with a token of its own: its first request to the server is the WebSocket."""
LOG = "[...document.querySelectorAll('#log li')].map(line => line.textContent)"
START = "ONRECORD_ORIGINS=http://localhost:5173 make run"
INSTALL = "npm install --silent --no-audit --no-fund socket.io-client"
SERVE = "python3 -m http.server 5173"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def answers(address: str) -> bool:
    async with httpx.AsyncClient() as http:
        with suppress(httpx.TransportError):
            return (await http.get(address)).status_code == 200
    return False


@asynccontextmanager
async def front_end(place: Path, port: int, server: str) -> AsyncIterator[None]:
    """Serve the pages of the guide at a port, for a server at an address."""
    await installed()
    (place / "node_modules").mkdir(parents=True)
    (place / "node_modules" / "socket.io-client").symlink_to(MODULES / "node_modules" / "client-newest")
    for name, page in PAGES:
        assert "http://localhost:8000" in page
        (place / name).write_text(page.replace("http://localhost:8000", server))
    (place / FIXED).write_text(
        re.sub(
            r"async function getToken.*?\n  }",
            'const getToken = () => "fixed";',
            dict(PAGES)["native.html"],
            flags=re.DOTALL,
        ).replace("http://localhost:8000", server)
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, *SERVE.replace("5173", str(port)).split()[1:], cwd=place, stderr=asyncio.subprocess.DEVNULL
    )  # fmt: skip
    try:
        await until(partial(answers, f"http://localhost:{port}/"))
        yield
    finally:
        process.terminate()
        await process.wait()


def test_the_guide_has_these_commands_and_pages() -> None:
    assert COMMANDS == [START, INSTALL, SERVE]
    assert [name for name, _ in PAGES] == ["socketio.html", "native.html"]


async def test_the_pages_of_the_guide_chat_from_another_origin(place: Path, tmp_path: Path) -> None:
    port = free_port()
    env = newcomer(place) | {"ONRECORD_ORIGINS": f"http://localhost:{port}"}
    async with (
        running(env, "dev") as server,
        front_end(tmp_path / "pages", port, server.address),
        chromium(tmp_path / "profile") as browser,
    ):
        for name, line in (
            ("socketio", "Robin: Hello from Socket.IO"),
            ("native", "Sam: Hello from a WebSocket"),
        ):
            tab = await browser.open(f"http://localhost:{port}/{name}.html")
            await tab.until(f"{LOG}.includes({line!r})")


async def test_a_page_that_is_not_in_the_list_shows_the_setting(place: Path, tmp_path: Path) -> None:
    port = free_port()
    async with (
        running(newcomer(place) | {"ONRECORD_ORIGINS": "http://localhost:1"}, "dev") as server,
        front_end(tmp_path / "pages", port, server.address),
        chromium(tmp_path / "profile") as browser,
    ):
        for name in (*dict(PAGES), FIXED):
            tab = await browser.open(f"http://localhost:{port}/{name}")
            await tab.until(f"{LOG}.some(line => line.includes('ONRECORD_ORIGINS'))")
            assert f"http://localhost:{port}" in str(await tab.value(f"{LOG}.join()"))
