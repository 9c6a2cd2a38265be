"""The dialog that makes a room: what it sends, and what it keeps when the server refuses."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import enter, newcomer
from tests.support.processes.processes import running

pytestmark = pytest.mark.needs("chromium")

OPEN = "document.querySelector('#create-dialog').open"


async def click(tab: Tab, selector: str) -> None:
    await tab.value(f"document.querySelector({selector!r}).click(); 0")


async def test_the_id_of_a_private_room_does_not_reveal_its_name(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await click(alice, "#create-open")
        await click(alice, "#create-private")
        await alice.fill("#create-name", "Planning Private", "#create-submit")
        await alice.until("document.querySelector('#room-name').textContent === 'Planning Private'")
        await alice.until("location.hash.startsWith('#r-')")
        await click(bob, "#create-open")
        await bob.fill("#create-name", "Planning Private", "#create-submit")
        await bob.until("location.hash === '#planning-private'")


async def test_a_refused_room_leaves_the_dialog_open_with_its_input(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice = await browser.open(server.address)
        await enter(alice, "Alice")
        await click(alice, "#create-open")
        await alice.fill("#create-name", "General", "#create-submit")
        error = "document.querySelector('#create-error').textContent"
        await alice.until(f"{error} === 'There is a room general already.'")
        assert await alice.value(OPEN)
        assert await alice.value("document.querySelector('#create-name').value") == "General"
        await alice.fill("#create-name", " 2", "#create-submit")
        await alice.until(f"!{OPEN} && location.hash === '#general-2'")
        await click(alice, "#create-open")
        assert await alice.value(error) == ""
