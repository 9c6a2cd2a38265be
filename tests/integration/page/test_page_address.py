"""The browser's back button, reloads and links: the address names the open room."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import enter, newcomer, say
from tests.support.processes.processes import running

pytestmark = pytest.mark.needs("chromium")

NAME = "document.querySelector('#room-name').textContent"


def opened(room: str) -> str:
    return f"{NAME} === {room!r} && location.hash === '#{room}'"


def shown(selector: str) -> str:
    return f"document.querySelector({selector!r}).checkVisibility()"


async def join(tab: Tab, room: str) -> None:
    await tab.fill("#join-room", room, "#join-submit")
    await tab.until(opened(room))


async def test_going_back_opens_the_room_before_and_a_reload_keeps_it(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        tab = await browser.open(server.address)
        await enter(tab, "Alice")
        for room in ("plans", "tea"):
            await join(tab, room)
        await tab.value("history.back()")
        await tab.until(opened("plans"))
        assert await tab.value("document.activeElement.id") == "room-name"
        await tab.value("history.back()")
        await tab.until(opened("general"))
        await tab.value("history.go(2)")
        await tab.until(opened("tea"))
        await tab.reload()
        await tab.until(opened("tea"))
        await tab.value("history.back()")
        await tab.until(opened("plans"))

        # A room that was left is not opened by going back: the page offers to join it.
        await tab.value("document.querySelector('#leave').click()")
        await tab.until("location.hash === '' && !document.querySelector('#room-list [data-room-id=plans]')")
        await tab.value("document.querySelector('#room-list [data-room-id=tea] button').click()")
        await tab.until(opened("tea"))
        await tab.value("location.hash = '#plans'")
        await tab.until("document.querySelector('#empty-text').textContent.includes('plans')")
        await tab.value("document.querySelector('#join-named').click()")
        await tab.until(opened("plans"))
        await say(tab, "I am back")


async def test_a_link_opens_its_room_and_adds_no_member_by_itself(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice = await browser.open(server.address)
        await enter(alice, "Alice")
        bob = await browser.open(f"{server.address}/#general")
        await bob.fill("#signin-name", "Bob", "#signin-submit")
        await bob.until("document.querySelector('#empty-text').textContent.includes('general')")
        await bob.value("document.querySelector('#join-named').click()")
        await bob.until(opened("general"))
        await bob.value("location.hash = '#%3Cimg%3E'")  # no id of a room: the list
        await bob.until(f"{NAME} === 'general'")
        assert await bob.value(shown("#room-list"))


async def test_on_a_phone_going_back_shows_the_list_of_rooms(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        tab = await browser.open(server.address)
        await tab.resize(360, 640)
        await enter(tab, "Alice")
        await tab.until(opened("general"))
        assert not await tab.value(shown("#room-list"))
        await tab.value("history.back()")
        await tab.until(shown("#room-list"))
        await join(tab, "plans")
        length = await tab.value("history.length")
        await tab.value("document.querySelector('#back').click()")
        await tab.until(shown("#room-list"))
        await tab.until("location.hash === ''")
        assert await tab.value("history.length") == length, (
            "the page's button goes back as the browser's does"
        )
