"""What owners and moderators do to a room on the page, and how a long one is read back."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.native import Client, raw
from tests.support.clients.page import SAID, enter, message, newcomer, say
from tests.support.processes.processes import running

ONE_PAGE = 50


def room(name: str) -> str:
    return f"document.querySelector('#room-list li[data-room-id={name}]')"


def member(user: str) -> str:
    return f"document.querySelector('#member-list li[data-user-id={user}]')"


async def click(tab: Tab, selector: str) -> None:
    await tab.until(f"document.querySelector({selector!r})?.offsetParent")
    await tab.value(f"document.querySelector({selector!r}).click()")


async def choose(tab: Tab, user: str, label: str) -> None:
    """Press a button of a member's menu."""
    button = f"[...({member(user)}?.querySelectorAll('.menu button') ?? [])].find(b => b.textContent === {label!r})"
    await tab.until(button)
    await tab.value(f"{button}.click()")


async def write(tab: Tab, field: str, text: str, button: str) -> None:
    """Replace what is in a field of the room's dialog, and press a button there."""
    await click(tab, "#room-open")
    await tab.until(f"document.querySelector({field!r}).offsetParent")
    await tab.value(f"document.querySelector({field!r}).value = {json.dumps(text)}")
    await tab.value(f"document.querySelector({button!r}).click()")


@pytest.mark.needs("chromium")
async def test_owner_renames_sets_topic_archives_and_reopens_a_room(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        assert not await bob.value("document.querySelector('#room-open').offsetParent")
        await write(alice, "#room-rename", "The <b>Lobby</b>", "#room-submit")
        for tab in (alice, bob):
            await tab.until("document.querySelector('#room-name').textContent === 'The <b>Lobby</b>'")
        await write(alice, "#room-retopic", "What everybody should know", "#room-submit")
        await bob.until("document.querySelector('#room-topic').textContent === 'What everybody should know'")
        await alice.value("window.confirm = () => true")
        await click(alice, "#room-open")
        await click(alice, "#room-archive")
        await bob.until("document.querySelector('#archived').offsetParent")
        assert not await bob.value("document.querySelector('#message-form').offsetParent")
        await alice.until("document.querySelector('#archived').offsetParent")
        await click(alice, "#room-open")
        await click(alice, "#room-archive")
        await bob.until("document.querySelector('#message-form').offsetParent")
        await say(bob, "Open again")
        await alice.until(message("Open again"))


@pytest.mark.needs("chromium")
async def test_an_owner_gives_a_role_mutes_removes_bans_and_lifts_the_ban(
    place: Path, tmp_path: Path
) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await alice.value("window.confirm = () => true")
        await click(alice, "#members-toggle")
        await choose(alice, "bob", "Make moderator")
        await bob.until("document.querySelector('#room-open').offsetParent")
        await choose(alice, "bob", "Make member")
        await bob.until("!document.querySelector('#room-open').offsetParent")
        await choose(alice, "bob", "Mute")
        await alice.until(f"{member('bob')}.textContent.includes('muted')")
        await bob.fill("#message-text", "Nobody hears this", "#message-send")
        await bob.until("document.querySelector('#messages .failure')")
        await choose(alice, "bob", "Unmute")
        await alice.until(f"!{member('bob')}.textContent.includes('muted')")
        await choose(alice, "bob", "Remove")
        await bob.until(f"!{room('general')}")
        await bob.fill("#join-room", "general", "#join-submit")
        await bob.until(room("general"))
        await choose(alice, "bob", "Ban")
        await bob.until(f"!{room('general')}")
        await alice.until(f"!{member('bob')}")
        await bob.fill("#join-room", "general", "#join-submit")
        await bob.until("document.querySelector('#notice').textContent === 'You are banned from general.'")
        await write(alice, "#unban-user", "bob", "#unban-submit")
        await alice.until("document.querySelector('#notice').textContent === 'bob may come back.'")
        await bob.fill("#join-room", "general", "#join-submit")
        await bob.until(room("general"))
        await alice.until(member("bob"))


@pytest.mark.needs("chromium")
async def test_two_people_have_one_room_of_their_own(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await click(alice, "#members-toggle")
        await choose(alice, "bob", "Write to")
        await alice.until("document.querySelector('#room-name').textContent === 'Bob'")
        await say(alice, "Only for you")
        direct = (
            "[...document.querySelectorAll('#room-list li')].find(li => li.textContent.includes('direct'))"
        )
        await bob.until(f"{direct}?.dataset.unread === '1'")
        await bob.value(f"{direct}.querySelector('button').click()")
        await bob.until(message("Only for you"))
        assert not await bob.value("document.querySelector('#leave').offsetParent"), "nobody leaves one"
        await bob.value(f"{room('general')}.querySelector('button').click()")
        await click(bob, "#members-toggle")
        await choose(bob, "alice", "Write to")
        await bob.until(message("Only for you"))
        assert await bob.value("document.querySelectorAll('#room-list li').length") == 2


async def fill(server: str, count: int) -> None:
    """Say so much in the room, by a program."""
    async with httpx.AsyncClient(base_url=server) as http:
        answer = await http.post("/dev/token", json={"userId": "carol", "name": "Carol"})
    async with raw(server.replace("http", "ws", 1) + "/ws") as socket:
        carol = Client(socket, "carol")
        frame = {"type": "connect", "protocol": 1, "token": answer.json()["token"]}
        await carol.socket.send(json.dumps(frame))
        await carol.until(lambda: carol.events("connected"))
        await carol.join("general")
        for number in range(count):
            await carol.post("general", f"message {number}")
            await asyncio.sleep(0.05)  # within the rate
        await carol.close()


@pytest.mark.needs("chromium")
async def test_scrolling_up_loads_history_and_keeps_the_scroll_position(place: Path, tmp_path: Path) -> None:
    said = 2 * ONE_PAGE + 20
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        await fill(server.address, said)
        alice = await browser.open(server.address)
        await enter(alice, "Alice")
        await alice.until(f"{SAID}.length === {ONE_PAGE}")
        for shown in (2 * ONE_PAGE, said):
            first = await alice.value(f"{SAID}[0]")
            # A frame is drawn before the page gets the scroll event.
            up = "document.querySelector('#timeline').scrollTop = 0"
            await alice.value(f"{up}; dispatchEvent(new Event('focus')); 0")
            await alice.until(f"{SAID}.length >= {shown}")
            row = f"{message(first)}.getBoundingClientRect().top"
            seen = "document.querySelector('#timeline').getBoundingClientRect().top"
            assert abs(await alice.value(f"{row} - {seen}")) < 200, "what was on top is still there"
        assert await alice.value(SAID) == [f"message {number}" for number in range(said)]
        assert not await alice.value("document.querySelector('#load-earlier').offsetParent")
