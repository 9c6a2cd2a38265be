"""The chat with the stock client in a browser: from a page of this server, and from pages of others."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Browser, Tab, chromium
from tests.support.clients.socketio import MODULES, installed
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.servers.foreign_page import foreign_page

pytestmark = pytest.mark.needs("node", "npm", "chromium")

HOWS = {
    "polling": '{transports: ["polling"]}',
    "websocket": '{transports: ["websocket"]}',
    "upgrade": "{}",
}


async def with_library(browser: Browser, page: str) -> Tab:
    """Open a page, and load the stock client into it."""
    await installed()
    tab = await browser.open(page)
    await tab.until(f"location.href.startsWith('{page}') && document.readyState === 'complete'")
    bundle = MODULES / "node_modules" / "client-newest" / "dist" / "socket.io.min.js"
    await tab.value(bundle.read_text() + "\n;0")
    return tab


async def connect(tab: Tab, address: str, user: str, how: str) -> None:
    await tab.value(
        f"""
        heard = []; failed = []; upgraded = false; ok = false;
        socket = io("{address}", {{...{HOWS[how]}, forceNew: true, auth: {{token: "{token(user)}"}}}});
        socket.onAny((name, payload) => heard.push({{type: name, ...payload}}));
        socket.on("connect_error", (error) => failed.push(error.message));
        socket.io.engine.on("upgrade", () => {{ upgraded = true; }});
        0
        """
    )


async def chats(tab: Tab, how: str) -> None:
    """Join, post a message, and receive it."""
    await tab.until("heard.some(event => event.type === 'connected')")
    if how == "upgrade":
        await tab.until("upgraded")
    said = f"over {how}"
    await tab.value('socket.emit("room:join", {roomId: "general"}); 0')
    await tab.value(
        f'socket.emit("message:send", {{roomId: "general", content: "{said}"}}, (answer) => {{ ok = answer.ok; }}); 0'
    )
    await tab.until(f"heard.some(event => event.type === 'message:new' && event.content === '{said}') && ok")


async def test_a_page_of_this_server_chats_over_every_transport(node: Process, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        tab = await with_library(browser, node.address)
        for how in HOWS:
            await connect(tab, node.address, f"user-{how}", how)
            await chats(tab, how)
            await tab.value("socket.disconnect(); 0")


async def test_a_page_of_another_origin_is_refused_on_every_transport(node: Process, tmp_path: Path) -> None:
    async with foreign_page() as elsewhere, chromium(tmp_path) as browser:
        tab = await with_library(browser, elsewhere)
        for how in HOWS:
            await connect(tab, node.address, "mallory", how)
            await tab.until("failed.length > 0")
            assert await tab.value("heard.length") == 0
            await tab.value("socket.disconnect(); 0")


async def test_a_page_of_an_allowed_origin_chats_over_every_transport(
    database: Database, tmp_path: Path
) -> None:
    async with foreign_page() as elsewhere, chromium(tmp_path) as browser:
        async with running(environment(database, ONRECORD_ORIGINS=elsewhere), "serve") as node:
            tab = await with_library(browser, elsewhere)
            for how in HOWS:
                await connect(tab, node.address, f"user-{how}", how)
                await chats(tab, how)
                await tab.value("socket.disconnect(); 0")
