"""People are named on the page with completion, by keyboard and by touch, and unknown ones only after a question."""

import json
from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import enter, message, newcomer
from tests.support.processes.processes import running

PLAIN = "text.replace(/[\\u2068\\u2069]/g, '')"
ASKED = f"window.confirm = (text) => {{ (window.asked ??= []).push({PLAIN}); return ANSWER; }}; 0"


def options(field: str) -> str:
    return f"[...document.querySelectorAll('#{field}-list [role=option]')].map((one) => one.textContent)"


async def write(tab: Tab, field: str, text: str) -> None:
    """Type into a field that shows, after what is there."""
    await tab.until(f"document.querySelector('#{field}').offsetParent")
    await tab.value(f"document.querySelector('#{field}').focus()")
    await tab.type(text)


async def press(tab: Tab, field: str, *keys: str) -> None:
    for key in keys:
        event = f"new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true, cancelable: true }})"
        await tab.value(f"document.querySelector('#{field}').dispatchEvent({event})")


async def click(tab: Tab, selector: str) -> None:
    await tab.value(f"document.querySelector({selector!r}).click(); 0")


@pytest.mark.needs("chromium")
async def test_people_are_chosen_by_name_and_added(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice Smith")
        await enter(bob, "Bob Jones")
        await alice.value(ASKED.replace("ANSWER", "false"))
        await click(alice, "#create-open")
        await write(alice, "create-name", "Team")
        await click(alice, "#create-private")

        await write(alice, "create-people", "JON")
        await alice.until(f"{options('create-people')}.join() === 'Bob Jonesbob-jones'")
        field = "document.querySelector('#create-people')"
        assert await alice.value(f"{field}.getAttribute('aria-expanded')") == "true"
        await press(alice, "create-people", "ArrowDown")
        active = f"document.getElementById({field}.getAttribute('aria-activedescendant'))"
        assert await alice.value(f"{active}.getAttribute('aria-selected')") == "true"
        await press(alice, "create-people", "Enter")
        chips = "[...document.querySelectorAll('.chips li')].map((one) => one.title)"
        assert await alice.value(chips) == ["bob-jones"]
        assert await alice.value(f"{field}.value") == ""
        assert await alice.value("document.querySelector('#create-dialog').open")

        await write(alice, "create-people", "Nobody Such")
        await click(alice, "#create-submit")
        await alice.until(f"{field}.validationMessage.startsWith('No one here is called Nobody Such.')")
        await alice.value(f"{field}.select()")
        await alice.type("nobody-such")
        await click(alice, "#create-submit")
        await alice.until("window.asked?.length === 1")
        assert await alice.value("asked") == ["nobody-such has never signed in here. Add anyway?"]
        assert await alice.value("document.querySelector('#create-dialog').open"), "the answer was no"
        await alice.value(ASKED.replace("ANSWER", "true"))
        await click(alice, "#create-submit")
        for tab in (alice, bob):
            await tab.until("document.querySelector('#room-list li[data-room-id^=r-]')")
        await alice.until("document.querySelector('#room-name').textContent === 'Team'")
        await click(alice, "#members-toggle")
        people = "[...document.querySelectorAll('#member-list li')].map((one) => one.dataset.userId).sort()"
        await alice.until(f"{people}.join() === 'alice-smith,bob-jones,nobody-such'")


@pytest.mark.needs("chromium")
async def test_a_person_is_invited_and_written_to_by_name(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice Smith")
        await enter(bob, "Bob Jones")
        await alice.value(ASKED.replace("ANSWER", "false"))
        await click(alice, "#members-toggle")
        await alice.fill("#join-room", "other", "#join-submit")
        await alice.until("location.hash === '#other'")  # the page has moved the focus then
        await write(alice, "invite-user", "bob")
        await alice.until(f"{options('invite-user')}.length === 1")
        await press(alice, "invite-user", "Escape")
        assert await alice.value(options("invite-user")) == []
        await press(alice, "invite-user", "ArrowDown")
        await alice.until(f"{options('invite-user')}.length === 1")
        await click(alice, "#invite-user-list [role=option]")
        assert await alice.value("document.querySelector('#invite-user').value") == "bob-jones"
        await click(alice, "#invite-submit")
        await alice.until("document.querySelector('#notice').textContent === 'bob-jones is invited.'")
        await bob.until("document.querySelector('#invitation-list li[data-room-id=other]')")

        await click(alice, "#write-open")
        await write(alice, "write-user", "Bob Jones")
        await click(alice, "#write-submit")
        await alice.until("document.querySelector('#room-name').textContent === 'Bob Jones'")
        assert await alice.value("window.asked ?? null") is None
        name = json.dumps("Alice Smith")
        await bob.until(
            f"[...document.querySelectorAll('#room-list .name')].some((one) => one.textContent === {name})"
        )


@pytest.mark.needs("chromium")
async def test_members_are_offered_after_an_at_sign(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, quinn = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(quinn, "Quinn Quick")
        await alice.until("document.querySelector('#member-list [data-user-id=quinn-quick]')")
        await write(alice, "message-text", "Hi @qui")
        await alice.until(f"{options('message-text')}.join() === 'Quinn Quickquinn-quick'")
        await alice.press("Enter")
        assert await alice.value("document.querySelector('#message-text').value") == "Hi @quinn-quick "
        await alice.type("and welcome")
        await alice.press("Enter")
        for tab in (alice, quinn):
            await tab.until(message("Hi @quinn-quick and welcome"))
        assert await quinn.value(f"{message('Hi @quinn-quick and welcome')}.classList.contains('for-me')")
        await alice.type("@quinn-quick")
        await alice.press("Enter")
        await quinn.until(message("@quinn-quick"))
