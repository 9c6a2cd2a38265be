"""The page against the truth: other tabs and devices, many messages at once, dead lines, deleted texts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.native import Client, client
from tests.support.clients.page import SAID, enter, message, newcomer, say
from tests.support.processes.processes import running
from tests.support.servers.proxies import Proxy, proxied

pytestmark = pytest.mark.needs("chromium")

STATUS = "document.querySelector('#connection-state').dataset.status"
NOTICE = "document.querySelector('#notice').textContent"


def room(name: str) -> str:
    return f"document.querySelector('#room-list li[data-room-id={name}]')"


async def create(tab: Tab, name: str, *, private: bool = False) -> None:
    await tab.value("document.querySelector('#create-open').click()")
    await tab.value(f"document.querySelector('#create-private').checked = {str(private).lower()}")
    await tab.fill("#create-name", name, "#create-submit")
    await tab.until(f"document.querySelector('#room-name').textContent === '{name}'")


@asynccontextmanager
async def device(server: str, name: str) -> AsyncIterator[Client]:
    """Give another connection of a user, to the native endpoint."""
    async with httpx.AsyncClient(base_url=server) as http:
        answer = await http.post("/dev/token", json={"userId": name.lower(), "name": name})
    url = server.replace("http", "ws", 1) + "/ws"
    async with client(url, name.lower(), token=answer.json()["token"]) as another:
        yield another


async def test_a_room_that_was_left_or_lost_returns_in_every_tab(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        one, other = await browser.open(server.address), await browser.open(server.address)
        await enter(one, "Alice")
        await enter(other, "Alice")
        await one.value("document.querySelector('#leave').click()")
        await other.until(f"!{room('general')}")
        await one.fill("#join-room", "general", "#join-submit")
        await other.until(room("general"))
        async with device(server.address, "Bob") as bob:
            await bob.say("room:create", roomId="plans", name="Plans", visibility="private")
            for turn in range(2):
                await bob.say("room:invite", roomId="plans", userId="alice")
                await one.until("document.querySelector('#invitation-list li[data-room-id=plans] button')")
                await one.value("document.querySelector('#invitation-list li button').click()")
                await other.until(room("plans"))
                assert not await other.value("document.querySelector('#invitation-list li')")
                await bob.post("plans", f"Welcome {turn}")
                await other.value(f"{room('plans')}.querySelector('button').click()")
                await other.until(message(f"Welcome {turn}"))
                await bob.say("room:kick", roomId="plans", userId="alice")
                await other.until(f"!{room('plans')}")
                await one.until(f"!{room('plans')}")


async def test_reading_elsewhere_leaves_the_count_of_the_server(place: Path, tmp_path: Path) -> None:
    env = newcomer(place) | {"ONRECORD_RATE_BURST": "0"}
    async with running(env, "dev") as server, chromium(tmp_path / "profile") as browser:
        alice = await browser.open(server.address)
        await enter(alice, "Alice")
        await create(alice, "Plans")
        async with device(server.address, "Carol") as carol, device(server.address, "Alice") as phone:
            await carol.join("general")
            sent = [(await carol.post("general", f"message {number}"))["messageId"] for number in range(80)]
            await alice.until(f"{room('general')}.dataset.unread === '80'")
            await alice.reload()
            await alice.until(f"{room('general')}?.dataset.unread === '80'")
            await phone.say("message:read", roomId="general", messageId=sent[9])
            await alice.until(f"{room('general')}.dataset.unread === '70'")
            await carol.say("message:delete", roomId="general", messageId=sent[12])
            await alice.until(f"{room('general')}.dataset.unread === '69'")


async def test_many_messages_written_offline_are_sent_in_order_by_themselves(
    place: Path, tmp_path: Path
) -> None:
    written = [f"message {number}" for number in range(60)]
    async with (
        running(newcomer(place), "dev") as server,
        proxied(server.address + "/", Proxy) as (proxy, address),
        chromium(tmp_path / "profile") as browser,
    ):
        alice, bob = await browser.open(address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        proxy.refuse()
        await alice.until(f"{STATUS} === 'waiting'")
        for text in written:
            await alice.fill("#message-text", text, "#message-send")
        await alice.until("document.querySelectorAll('#messages li[data-status=pending]').length === 60")
        await proxy.restore()
        await alice.value("document.querySelector('#reconnect').click()")
        await bob.until(f"{SAID}.length === 60")
        assert await bob.value(SAID) == written
        await alice.until("document.querySelectorAll('#messages li[data-status=sent]').length === 60")
        assert not await alice.value("document.querySelector('#messages .failure')")


async def test_a_line_that_swallows_everything_is_noticed(place: Path, tmp_path: Path) -> None:
    env = newcomer(place) | {"ONRECORD_PING_INTERVAL": "1", "ONRECORD_PING_TIMEOUT": "1"}
    async with (
        running(env, "dev") as server,
        proxied(server.address + "/", Proxy) as (proxy, address),
        chromium(tmp_path / "profile") as browser,
    ):
        alice = await browser.open(address)
        await enter(alice, "Alice")
        proxy.hold()
        await alice.until(f"{STATUS} !== 'connected'")
        await proxy.restore()
        await alice.until(f"{STATUS} === 'connected'")
        await say(alice, "Still here")


async def test_what_was_deleted_while_one_was_away_is_not_announced(place: Path, tmp_path: Path) -> None:
    async with (
        running(newcomer(place), "dev") as server,
        proxied(server.address + "/", Proxy) as (proxy, address),
        chromium(tmp_path / "profile") as browser,
    ):
        alice = await browser.open(address)
        await enter(alice, "Alice")
        async with device(server.address, "Bob") as bob:
            await bob.join("general")
            proxy.refuse()
            await alice.until(f"{STATUS} === 'waiting'")
            gone = await bob.post("general", "Forget this")
            await bob.say("message:delete", roomId="general", messageId=gone["messageId"])
            await bob.post("general", "Remember this")
        await proxy.restore()
        await alice.value("document.querySelector('#reconnect').click()")
        await alice.until(message("Remember this"))
        await alice.until("document.querySelector('#announcer').textContent")
        assert await alice.value("document.querySelector('#announcer').textContent") == "Bob: Remember this"


async def test_a_mention_of_nobody_is_reported(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice = await browser.open(server.address)
        await enter(alice, "Alice")
        await say(alice, "Ask @zoe, or @ALICE.")
        await alice.until(f"{NOTICE}.includes('zoe')")
        assert "ALICE" not in await alice.value(NOTICE)
