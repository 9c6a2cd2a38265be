"""Invitations on the page: whose they are, how they are declined and withdrawn; and leaving as the last owner."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import enter, newcomer
from tests.support.processes.processes import running

pytestmark = pytest.mark.needs("chromium")

PLAIN = "text.replace(/[\\u2068\\u2069]/g, '')"
ASKED = f"window.confirm = (text) => {{ (window.asked ??= []).push({PLAIN}); return ANSWER; }}; 0"
INVITED = "[...document.querySelectorAll('#invited-list li')].map((one) => one.dataset.userId).join()"
INVITATION = "document.querySelector('#invitation-list li')"


def button(within: str, words: str) -> str:
    return f"[...document.querySelectorAll('{within} button')].find((b) => b.textContent === '{words}')"


async def invite(tab: Tab, user: str) -> None:
    await tab.value("document.querySelector('#invite-user').value = ''")
    await tab.fill("#invite-user", user, "#invite-submit")
    await tab.until(f"{INVITED} === '{user}'")


async def test_an_invitation_names_its_author_and_is_declined_or_withdrawn(
    place: Path, tmp_path: Path
) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        paula, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(paula, "Paula Page")
        await enter(bob, "Bob")
        await paula.fill("#join-room", "plans", "#join-submit")
        await paula.until("location.hash === '#plans'")
        await paula.value("document.querySelector('#members-toggle').click()")
        await invite(paula, "bob")
        await bob.until(f"{INVITATION}.textContent.includes('from Paula Page')")
        await bob.value(f"{button('#invitation-list', 'Decline')}.click()")
        await bob.until(f"!{INVITATION}")
        await paula.until(f"{INVITED} === ''")
        await invite(paula, "bob")
        await bob.until(INVITATION)
        await paula.reload()
        await paula.until("document.querySelector('#connection-state')?.dataset.status === 'connected'")
        await paula.value("document.querySelector('#members-toggle').click()")
        await paula.until(f"{INVITED} === 'bob'")
        await paula.value(f"{button('#invited-list', 'Withdraw')}.click()")
        await bob.until(f"!{INVITATION}")
        await paula.until(f"{INVITED} === ''")


async def test_the_last_owner_is_asked_before_the_room_goes_to_another(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        paula, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(paula, "Paula Page")
        await enter(bob, "Bob Jones")
        await paula.until("document.querySelector('#member-list [data-user-id=bob-jones]')")
        await paula.value(ASKED.replace("ANSWER", "false"))
        await paula.value("document.querySelector('#leave').click()")
        await paula.until("window.asked?.length === 1")
        question = (
            "You are the only owner of general. If you leave, Bob Jones becomes its owner. Leave general?"
        )
        assert await paula.value("asked[0]") == question
        await paula.value(ASKED.replace("ANSWER", "true"))
        await paula.value("document.querySelector('#leave').click()")
        await paula.until("!document.querySelector('#room-list li[data-room-id=general]')")
        await bob.until("document.querySelector('#room-open').offsetParent")
        await bob.value(ASKED.replace("ANSWER", "false"))
        await bob.value("document.querySelector('#leave').click()")
        await bob.until("!document.querySelector('#room-list li[data-room-id=general]')")
        assert await bob.value("window.asked ?? null") is None
