"""The page with user ids as identity providers issue them."""

import json
from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import SAID, enter, message, newcomer, say
from tests.support.processes.processes import Process, running

AWKWARD = ("'\"<>&\\|{}", "__proto__", "a+b@example.com")


async def enter_as(tab: Tab, server: Process, user: str) -> None:
    """Enter with a token, as after a sign-in at an identity provider."""
    async with httpx.AsyncClient(base_url=server.address) as http:
        answer = await http.post("/dev/token", json={"userId": user, "name": "Someone"})
    session = {"userId": user, "name": "Someone", "demo": False, "renewal": None, **answer.json()}
    await tab.until(f"location.href.startsWith({json.dumps(server.address)})")
    await tab.value(f"sessionStorage.setItem('onrecord.session', {json.dumps(json.dumps(session))}); 0")
    await tab.reload()
    await tab.until("document.querySelector('#connection-state')?.dataset.status === 'connected'")


def member(user: str) -> str:
    return f"[...document.querySelectorAll('#member-list li')].find(li => li.dataset.userId === {json.dumps(user)})"


async def choose(tab: Tab, user: str, label: str) -> None:
    button = f"[...({member(user)}?.querySelectorAll('.menu button') ?? [])].find(b => b.textContent === {label!r})"
    await tab.until(button)
    await tab.value(f"{button}.click(); 0")


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("user", AWKWARD)
async def test_a_user_with_any_subject_is_shown_and_governed(place: Path, tmp_path: Path, user: str) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, other = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await alice.value("window.confirm = () => true; 0")
        await alice.value("document.querySelector('#members-toggle').click(); 0")
        await enter_as(other, server, user)
        await other.fill("#join-room", "general", "#join-submit")
        await other.until("document.querySelector('#room-list li[data-room-id=general]')")
        await say(other, "Hello")
        await alice.until(f"{message('Hello')}?.dataset.userId === {json.dumps(user)}")
        await alice.until(member(user))
        await say(alice, f"Hello, @{user}.")
        await other.until(f"{message(f'Hello, @{user}.')}?.classList.contains('for-me')")
        for label in ("Mute", "Unmute", "Make moderator", "Make member"):
            await choose(alice, user, label)
        await choose(alice, user, "Ban")
        await alice.until(f"!({member(user)})")
        await alice.value(f"document.querySelector('#unban-user').value = {json.dumps(user)}; 0")
        await alice.value("document.querySelector('#unban-submit').click(); 0")
        await alice.until(
            f"document.querySelector('#notice').textContent === {json.dumps(user + ' may come back.')}"
        )


@pytest.mark.needs("chromium")
async def test_people_are_added_by_their_ids_as_typed(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, other = await browser.open(server.address), await browser.open(server.address)
        await enter_as(other, server, "Org/User=")
        await enter_as(alice, server, "dGVzdA==")
        await alice.value(
            "window.confirm = (text) => (window.asked ??= []).push(text);"
            "document.querySelector('#create-open').click();"
            "document.querySelector('#create-name').value = 'Team';"
            "document.querySelector('#create-private').checked = true;"
            "document.querySelector('#create-people').value = 'Org/User= , a+b@example.com';"
            "document.querySelector('#create-form').requestSubmit(); 0"
        )
        await other.until("document.querySelector('#room-list li[data-room-id^=r-]')")
        assert await alice.value("asked.map((text) => text.replace(/[\u2068\u2069]/g, ''))") == [
            "a+b@example.com has never signed in here. Add anyway?"
        ]
        await alice.value("document.querySelector('#members-toggle').click(); 0")
        for user in ("Org/User=", "a+b@example.com", "dGVzdA=="):
            await alice.until(member(user))
        await choose(alice, "Org/User=", "Write to")
        await alice.until("document.querySelector('#room-name').textContent === 'Someone'")
        await say(alice, "Only for you")
        await other.until("document.querySelectorAll('#room-list li').length === 2")
        assert await alice.value(SAID) == ["Only for you"]
