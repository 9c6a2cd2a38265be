"""Pages of this server and of other origins at every door: who comes in, and what the others are told."""

import json
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.clients.browser import chromium
from tests.support.clients.native import raw
from tests.support.clients.page import enter, newcomer, say
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, refusals, running
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Renaming, proxied
from tests.support.waiting import until

ELSEWHERE = "https://elsewhere.example"
EVIL = "https://evil.example"
POLL = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
STATUS = "document.querySelector('#connection-state')"


async def upgraded(node: Process, path: str, **headers: str) -> tuple[int, str]:
    """Return the status of an upgrade, and the body of its refusal."""
    try:
        async with raw(f"{node.address.replace('http', 'ws', 1)}{path}", additional_headers=headers):
            return 101, ""
    except InvalidStatus as refused:
        return refused.response.status_code, (refused.response.body or b"").decode()


async def statuses(node: Process, **headers: str) -> list[int]:
    """Return how each door answers a page: its WebSockets, its polls, and HTTP."""
    async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
        read = await http.get("/api/rooms", headers={"Authorization": f"Bearer {token('alice')}"})
        asked = await http.post("/ws")
        return [
            (await upgraded(node, "/ws", **headers))[0],
            (await upgraded(node, WEBSOCKET, **headers))[0],
            (await http.get(POLL)).status_code,
            read.status_code,
            asked.status_code,
        ]


LET_IN, TURNED_AWAY = [101, 101, 200, 200, 426], [403] * 5


async def test_the_own_page_comes_in_at_every_door_whatever_is_listed(database: Database) -> None:
    async with running(environment(database, ONRECORD_ORIGINS=ELSEWHERE), "serve") as node:
        assert await statuses(node, Origin=node.address) == LET_IN
        assert await statuses(node, Origin=ELSEWHERE) == LET_IN
        assert await statuses(node, Origin=EVIL) == TURNED_AWAY
        outer = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
        assert await statuses(node, Origin=EVIL, **outer) == TURNED_AWAY, "no proxy is trusted"


async def test_the_own_page_has_the_address_that_a_trusted_proxy_names(
    database: Database,
) -> None:
    env = environment(database, ONRECORD_ORIGINS=ELSEWHERE, ONRECORD_TRUSTED_PROXIES="127.0.0.1")
    async with running(env, "serve") as node:
        outer = {"X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https"}
        assert await statuses(node, Origin="https://chat.example", **outer) == LET_IN
        assert await statuses(node, Origin="http://chat.example", **outer) == TURNED_AWAY
        assert await statuses(node, Origin=EVIL, **outer) == TURNED_AWAY


async def test_a_foreign_page_is_told_which_setting_refuses_it(database: Database) -> None:
    async with running(environment(database, ONRECORD_ORIGINS=ELSEWHERE), "serve") as node:
        for path, word in (("/ws", "detail"), (WEBSOCKET, "message")):
            status, body = await upgraded(node, path, Origin=EVIL)
            assert (status, EVIL in json.loads(body)[word]) == (403, True)
            assert "ONRECORD_ORIGINS" in json.loads(body)[word]
        async with httpx.AsyncClient(base_url=node.address, headers={"Origin": EVIL}) as http:
            for answer, word in ((await http.get(POLL), "message"), (await http.post("/ws"), "detail")):
                # A page may read this answer, and no other.
                assert answer.headers["access-control-allow-origin"] == "*"
                assert EVIL in answer.json()[word]
                assert "ONRECORD_ORIGINS" in answer.json()[word]


@pytest.mark.parametrize("configured", ["", ELSEWHERE])
async def test_a_refused_preflight_is_one_line_with_the_origin(database: Database, configured: str) -> None:
    async with running(environment(database, ONRECORD_ORIGINS=configured), "serve") as node:
        async with httpx.AsyncClient(base_url=node.address) as http:
            refused = await http.options("/api/rooms", headers={"Origin": EVIL, **PREFLIGHT})
            assert (refused.status_code, "ONRECORD_ORIGINS" in refused.json()["detail"]) == (403, True)
            assert "access-control-allow-origin" not in refused.headers
            await until(partial(refusals, node))
            for _ in range(50):
                await http.options("/api/rooms", headers={"Origin": EVIL, **PREFLIGHT})
            await http.options("/api/rooms", headers={"Origin": node.address, **PREFLIGHT})
        lines = refusals(node)
    assert 1 <= len(lines) < 50
    assert {(line["reason"], line["origin"]) for line in lines} == {("foreign_origin", EVIL)}


@pytest.mark.needs("chromium")
async def test_the_page_works_with_a_list_and_says_what_refuses_it(place: Path, tmp_path: Path) -> None:
    env = newcomer(place) | {"ONRECORD_ORIGINS": ELSEWHERE}
    async with (
        running(env, "dev") as server,
        proxied(server.address + "/", Renaming) as (_, address),
        chromium(tmp_path / "profile") as browser,
    ):
        alice, bob = await browser.open(server.address), await browser.open(address)
        await enter(alice, "Alice")
        await say(alice, "Hello")
        await bob.fill("#signin-name", "Bob", "#signin-submit")
        await bob.until(f"{STATUS}?.textContent.includes('ONRECORD_ORIGINS')")
        assert address.rstrip("/") in str(await bob.value(f"{STATUS}.textContent"))
