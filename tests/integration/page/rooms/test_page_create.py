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


async def test_enter_names_people_and_never_makes_the_room(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(bob, "Bob Jones")
        await enter(alice, "Alice")
        await alice.value("window.confirm = () => true; 0")
        await click(alice, "#create-open")
        await alice.value("document.querySelector('#create-name').value = 'Team'")
        field = "document.querySelector('#create-people')"
        await alice.value(f"{field}.focus()")
        await alice.press("Enter")
        await alice.type("bob")
        await alice.until("document.querySelectorAll('#create-people-list [role=option]').length === 1")
        await alice.press("Enter")
        chips = "[...document.querySelectorAll('.chips li')].map((one) => one.title).join()"
        assert await alice.value(chips) == "bob-jones"
        await alice.type("nobody-such")
        await alice.press("Enter")
        await alice.until(f"{chips} === 'bob-jones,nobody-such' && {field}.value === ''")
        assert await alice.value(OPEN)
        after = "document.querySelector('#create-private').compareDocumentPosition(" + field + ")"
        assert await alice.value(f"{after} & Node.DOCUMENT_POSITION_FOLLOWING")
        await click(alice, "#create-cancel")

        await click(alice, "#members-toggle")
        await alice.value("document.querySelector('#invite-user').focus()")
        await alice.type("bob")
        await alice.until("document.querySelectorAll('#invite-user-list [role=option]').length === 1")
        await alice.press("Enter")
        assert await alice.value("document.querySelector('#invite-user').value") == "bob-jones"
