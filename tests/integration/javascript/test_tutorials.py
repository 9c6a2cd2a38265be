"""The tutorials about the client, with the programs, commands and outputs of their pages."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from service.embedded.daemon import free_port
from tests.support.clients.browser import chromium
from tests.support.environment import ROOT, token
from tests.support.javascript.package import Package, project
from tests.support.processes.processes import Process, running
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("node", "npm"), pytest.mark.timeout(300)]

PAGES = {
    name: (ROOT / "docs" / "tutorial" / f"{name}.md").read_text()
    for name in ("javascript", "react", "from-socketio")
}
BUILD = "(cd clients/js && npm install && npm run build && npm pack)"
TARBALL = "../clients/js/onrecord-client-0.1.0.tgz"


def programs(page: str) -> dict[str, str]:
    """Return the programs of a page by the file names in their first lines."""
    found = re.findall(r"```js\n// (\w+\.mjs)\n(.*?)```", PAGES[page], re.DOTALL)
    return dict(found)


def commands(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page with the output that the page shows."""
    found: list[tuple[str, str]] = []
    for line in re.findall(
        r"^    (.*)$", re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL), re.MULTILINE
    ):
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


async def shell(command: str, folder: Path, **env: str) -> str:
    """Return what a command writes."""
    process = await asyncio.create_subprocess_shell(
        command, cwd=folder, env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    return (await process.communicate())[0].decode()


def newcomer(place: Path, **settings: str) -> dict[str, str]:
    """Return the environment of `make run` for someone who has never run it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")}
    return inherited | {"ONRECORD_PORT": "0", "ONRECORD_DATA_DIR": str(place / "data"), **settings}


async def test_the_chat_in_javascript_prints_what_the_page_shows(
    made: Package, place: Path, tmp_path: Path
) -> None:
    steps = commands("javascript")
    assert [command for command, _ in steps[:4]] == [
        "make run", BUILD, "mkdir talk && cd talk && npm init --yes", f"npm install {TARBALL} ws",
    ]  # fmt: skip
    await asyncio.to_thread(project, tmp_path, made, "ws")
    for name, text in programs("javascript").items():
        (tmp_path / name).write_text(text)
    async with running(newcomer(place), "dev") as server:
        for command, output in steps[4:]:
            assert await shell(command, tmp_path, CHAT=server.address) == output, command


async def test_each_step_of_the_move_from_socketio_works(
    made: Package, node: Process, tmp_path: Path
) -> None:
    assert [command for command, _ in commands("from-socketio")] == [
        f"npm install {TARBALL} socket.io-client"
    ]
    await asyncio.to_thread(project, tmp_path, made, "socket.io-client")
    for name, text in programs("from-socketio").items():
        (tmp_path / name).write_text(text)
        printed = await shell(f"node {name}", tmp_path, CHAT=node.address, TOKEN=token("alice"))
        assert printed == f"alice: {name.removesuffix('.mjs')}\ntrue\n"
    assert len(programs("from-socketio")) == 3


@pytest.mark.needs("chromium")
async def test_the_page_in_react_chats(made: Package, place: Path, tmp_path: Path) -> None:
    assert [command for command, _ in commands("react")] == [
        "ONRECORD_ORIGINS=http://localhost:5173 make run", BUILD, "mkdir page && cd page && npm init --yes",
        f"npm install {TARBALL} react react-dom vite", "npx vite --port 5173",
    ]  # fmt: skip
    await asyncio.to_thread(project, tmp_path / "page", made, "react", "react-dom", "vite")
    port = free_port()
    env = newcomer(place, ONRECORD_ORIGINS=f"http://localhost:{port}")
    async with running(env, "dev") as server, chromium(tmp_path / "profile") as browser:
        async with vite(tmp_path / "page", port, server.address) as page:
            robin, jo = [await browser.open(f"{page}/?name={name}") for name in ("robin", "jo")]
            shown = "[...document.querySelectorAll('li')].map((line) => line.textContent.trim())"
            for tab in (robin, jo):
                await tab.until("document.querySelector('input')")
            await robin.value("document.querySelector('input').focus()")
            await robin.type("Hello, Jo")
            await jo.until("document.body.textContent.includes('robin typing')")
            await robin.value("document.querySelector('form').requestSubmit()")
            for tab in (robin, jo):
                await tab.until(f"{shown}.join() === 'robin: Hello, Jo'")
            await jo.until("document.querySelector('h1').textContent === 'general (1 unread)'")
            await robin.until("document.body.textContent.includes('jo, robin online')")
            assert await robin.value("document.querySelector('li').style.opacity") == "1"


@asynccontextmanager
async def vite(folder: Path, port: int, server: str) -> AsyncIterator[str]:
    """Serve the page of the tutorial, for a server at an address; give its own address."""
    for kind, name in (("html", "index.html"), ("jsx", "chat.jsx")):
        (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGES["react"], re.DOTALL)
        (folder / name).write_text(text.replace("http://localhost:8000", server))
    process = await asyncio.create_subprocess_exec(
        "node", "node_modules/vite/bin/vite.js", "--port", str(port), "--strictPort", cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(partial(answers, f"http://localhost:{port}/"))
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        await process.wait()


async def answers(address: str) -> bool:
    async with httpx.AsyncClient() as http:
        with suppress(httpx.TransportError):
            return (await http.get(address)).status_code == 200
    return False
