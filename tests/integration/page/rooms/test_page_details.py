"""Details of the page: replies, pins and reports of messages; drafts; and the list of people on a phone."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import enter, message, newcomer, say
from tests.support.processes.processes import running

pytestmark = pytest.mark.needs("chromium")

FIELD = "document.querySelector('#message-text')"
PLAIN = "textContent.replace(/[\\u2068\\u2069]/g, '')"


async def click(tab: Tab, selector: str) -> None:
    await tab.value(f"document.querySelector({selector!r}).click(); 0")


async def choose(tab: Tab, text: str, action: str) -> None:
    await tab.until(message(text))
    await tab.value(f"{message(text)}.querySelector('.menu .{action}').click(); 0")


async def test_messages_are_quoted_found_from_their_pins_and_reported(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await alice.fill("#message-text", r"2 \* 3 \* 4", "#message-send")
        await choose(bob, "2 * 3 * 4", "reply")
        await bob.until(
            f"document.querySelector('#about-label').{PLAIN} === 'Reply to Alice: 2 \\\\* 3 \\\\* 4'"
        )
        await bob.value("window.prompt = () => ' spam '; 0")
        await choose(bob, "2 * 3 * 4", "report")
        sentence = "The message was reported to the moderators."
        await bob.until(f"document.querySelector('#notice').textContent === '{sentence}'")

        await choose(alice, "2 * 3 * 4", "pin")
        await alice.until(f"{message('2 * 3 * 4')}.querySelector('.marks .pin')")
        await click(alice, "#pins-open")
        await alice.until("document.querySelector('#pins-list button')")
        await click(alice, "#pins-list button")
        await alice.until(f"document.activeElement === {message('2 * 3 * 4')}")
        assert not await alice.value("document.querySelector('#pins-dialog').open")
        await click(alice, "#pins-open")
        await alice.until("document.querySelector('#pins-dialog').open")
        await click(alice, "#pins-list button:last-child")
        await alice.until("document.querySelector('#pins-none').checkVisibility()")
        await alice.until(f"!{message('2 * 3 * 4')}.querySelector('.marks .pin')")
        await click(bob, "#pins-open")
        await bob.until("document.querySelector('#pins-dialog').open")


async def test_a_draft_survives_a_reload_and_back_closes_the_people(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice = await browser.open(server.address)
        await enter(alice, "Alice")
        await say(alice, "sent")
        await alice.value(f"{FIELD}.focus()")
        await alice.type("not sent yet")
        await alice.reload()
        await alice.until(f"{FIELD}.value === 'not sent yet'")
        await alice.resize(360, 640)
        await alice.until("document.querySelector('#members-toggle').checkVisibility()")
        await click(alice, "#members-toggle")
        assert await alice.value("document.querySelector('#members').checkVisibility()")
        await alice.value("history.back(); 0")
        await alice.until("!document.querySelector('#members').checkVisibility()")
        assert await alice.value("location.hash === '#general'")
        assert await alice.value(f"{FIELD}.checkVisibility()")
        await click(alice, "#members-toggle")
        await click(alice, "#members-close")
        await alice.until("!document.querySelector('#members').checkVisibility()")
        assert await alice.value("location.hash === '#general'")
