"""The room directory of the page: found, searched, paged and joined without knowing a name."""

from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.native import Client, client
from tests.support.clients.page import newcomer
from tests.support.processes.processes import running

pytestmark = pytest.mark.needs("chromium")

NAMES = "[...document.querySelectorAll('#directory-list .name')].map(one => one.textContent)"
STATUS = "document.querySelector('#directory-status').textContent"
ROOM = "document.querySelector('#room-name').textContent"


async def fill_rooms(alice: Client) -> None:
    for number in range(55):
        await alice.say("room:create", roomId=f"r{number:02}", name=f"Room {number:02}")
    await alice.say("room:create", roomId="tea", name="<i>Tea</i> \u05d0")
    await alice.say("room:update", roomId="tea", topic="Green & black")
    await alice.say("room:create", roomId="secret", name="Secret", visibility="private")


async def sign_in(tab: Tab, name: str) -> None:
    await tab.fill("#signin-name", name, "#signin-submit")
    await tab.until("document.querySelector('#connection-state')?.dataset.status === 'connected'")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
async def test_a_newcomer_finds_and_joins_a_room(place: Path, tmp_path: Path, *, phone: bool) -> None:
    env = newcomer(place) | {"ONRECORD_RATE_BURST": "0"}
    async with running(env, "dev") as server, chromium(tmp_path / "profile") as browser:
        async with httpx.AsyncClient(base_url=server.address) as http:
            answer = await http.post("/dev/token", json={"userId": "alice", "name": "Alice"})
        url = server.address.replace("http", "ws", 1) + "/ws"
        async with client(url, "alice", token=answer.json()["token"]) as alice:
            await fill_rooms(alice)
        tab = await browser.open(server.address)
        if phone:
            await tab.resize(360, 640)
        await sign_in(tab, "Bob")
        await tab.value("document.querySelector('#browse').click()")
        await tab.until(f"{NAMES}.length === 50")
        assert await tab.value(f"{NAMES}[0]") == "<i>Tea</i> \u05d0"
        assert (
            await tab.value("document.querySelector('#directory-list .topic').textContent") == "Green & black"
        )
        assert await tab.value("document.querySelector('#directory-list .hint').textContent") == "1 member"
        assert await tab.value(STATUS) == "50+ rooms"
        await tab.value("document.querySelector('#directory-more').click()")
        await tab.until(f"{STATUS} === '56 rooms'")
        assert not await tab.value("document.querySelector('#directory-more').checkVisibility()")
        assert await tab.value("document.activeElement.closest('li').dataset.roomId") == "r49"
        assert await tab.value("document.documentElement.scrollWidth <= innerWidth")
        inside = "document.querySelector('#directory-dialog').getBoundingClientRect()"
        assert await tab.value(f"{inside}.bottom <= innerHeight && {inside}.right <= innerWidth")

        await tab.value("document.querySelector('#directory-query').focus()")
        await tab.type("secret")
        await tab.until(f"{STATUS} === 'No public room has this in its name.'")
        await tab.value("document.querySelector('#directory-query').select()")
        await tab.type("TEA")
        await tab.until(f"{NAMES}.length === 1")
        join = "document.querySelector('#directory-list button')"
        assert await tab.value(f"{join}.getAttribute('aria-label')") == "Join \u2068<i>Tea</i> \u05d0\u2069"
        await tab.value(f"{join}.click()")
        await tab.until(f"{ROOM} === '<i>Tea</i> \u05d0' && location.hash === '#tea'")
        assert not await tab.value("document.querySelector('#directory-dialog').open")
        assert await tab.value("document.querySelectorAll('#directory-list i, #room-name i').length") == 0

        # With the keyboard alone, to a room that one is in.
        await tab.value("document.querySelector('#browse').click()")
        await tab.until(f"{NAMES}.length === 50")
        await tab.until("document.querySelector('#directory-list button').textContent === 'Open'")
        await tab.press("Escape")
        await tab.until("!document.querySelector('#directory-dialog').open")
