"""`onrecord serve --demo`: a node whose page signs anyone in under any name, and says so."""

from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import chromium
from tests.support.clients.native import client
from tests.support.clients.page import enter, say
from tests.support.environment import environment
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database

INSIDE = """selector => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
}"""
SENTENCE = "This is a demo: anyone who reaches this address can sign in under any name"


async def test_a_demo_says_so_on_its_page(database: Database) -> None:
    async with running(environment(database), "serve", "--demo") as node, httpx.AsyncClient() as http:
        page = await http.get(node.address)
        assert page.text.count(SENTENCE) == 1
        assert page.text.index(SENTENCE) < page.text.index('id="signin"')
        assert (await http.get(f"{node.address}/signin")).json() == {"demo": True, "provider": False}
        answer = await http.post(f"{node.address}/dev/token", json={"userId": "ann", "name": "Ann"})
        async with client(node.url, "ann", token=answer.json()["token"]) as ann:
            await ann.join("general")
            await ann.post("general", "hello")


@pytest.mark.needs("chromium")
async def test_the_banner_is_in_the_window_before_and_after_the_sign_in(
    database: Database, tmp_path: Path
) -> None:
    async with running(environment(database), "serve", "--demo") as node, chromium(tmp_path) as browser:
        tab = await browser.open(node.address)
        await tab.until("document.querySelector('#signin-name').offsetParent")
        assert await tab.value(f"({INSIDE})('.demo') && ({INSIDE})('#signin-name')")
        await enter(tab, "Ann")
        await say(tab, "hello")
        assert await tab.value(f"({INSIDE})('.demo') && ({INSIDE})('#message-text') && ({INSIDE})('.top')")
        assert await tab.value("document.documentElement.scrollHeight <= innerHeight")


async def test_other_nodes_show_no_banner(database: Database) -> None:
    async with running(environment(database), "serve") as node, httpx.AsyncClient() as http:
        assert SENTENCE not in (await http.get(node.address)).text


@pytest.mark.parametrize(
    ("words", "settings", "sentence"),
    [
        (["--workers", "2"], {}, "`--demo` is for one node: leave out `--workers`.\n"),
        (
            [],
            {
                "ONRECORD_JWT_SECRET": "",
                "ONRECORD_JWT_JWKS": "https://id.example/keys",
                "ONRECORD_JWT_ISSUER": "https://id.example",
                "ONRECORD_JWT_AUDIENCE": "chat",
            },
            "`--demo` signs tokens with ONRECORD_JWT_SECRET, and ONRECORD_JWT_JWKS is set.\n",
        ),
    ],
)
async def test_a_demo_is_one_node_without_a_provider(
    database: Database, words: list[str], settings: dict[str, str], sentence: str
) -> None:
    assert await run(environment(database, **settings), "serve", "--demo", *words) == (2, "", sentence)
