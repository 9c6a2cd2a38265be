"""Small ways of the page: menus close, a refused link says so, and focus, title and notices follow the open room."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import enter, message, newcomer
from tests.support.processes.processes import running

pytestmark = pytest.mark.needs("chromium")

MENU = "document.querySelector('#messages details.menu')"
EMPTY = "document.querySelector('#empty-text').textContent.replace(/[\\u2068\\u2069]/g, '')"
NOTICE = "document.querySelector('#notice').textContent"


def shown(selector: str) -> str:
    return f"document.querySelector({selector!r}).checkVisibility()"


async def click(tab: Tab, selector: str) -> None:
    await tab.value(f"document.querySelector({selector!r}).click(); 0")


async def test_menus_close_and_focus_is_not_lost(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        tab = await browser.open(server.address)
        await tab.fill("#signin-name", "Alice", "#signin-submit")
        await tab.until("document.activeElement.id === 'rooms-title'")
        await tab.until("document.querySelector('#connection-state').dataset.status === 'connected'")
        await tab.fill("#join-room", "general", "#join-submit")
        await tab.until("location.hash === '#general'")
        await tab.fill("#message-text", "**hello**", "#message-send")
        await tab.until(message("hello"))
        await tab.value(f"{MENU}.open = true; {MENU}.querySelector('.reply').focus()")
        await tab.press("Escape")
        await tab.until(f"!{MENU}.open && document.activeElement === {MENU}.querySelector('summary')")
        await tab.value(f"{MENU}.open = true; 0")
        down = "new PointerEvent('pointerdown', { bubbles: true })"
        await tab.value(f"{MENU}.querySelector('.reply').dispatchEvent({down})")
        assert await tab.value(f"{MENU}.open")
        await tab.value(f"document.querySelector('#room-name').dispatchEvent({down})")
        assert not await tab.value(f"{MENU}.open")

        await tab.fill("#message-text", "more", "#message-send")
        await tab.until(f"{message('more')}.classList.contains('continued')")
        await tab.value(f"{message('more')}.querySelector('.menu .edit').click()")
        await tab.fill("#message-text", " of it", "#message-send")
        await tab.until(f"{message('more of it')}.querySelector('.edited').checkVisibility()")

        await tab.value(f"{MENU}.querySelector('.pin').click()")
        await tab.until("document.querySelector('#messages .pinned')")
        await click(tab, "#pins-open")
        await tab.until("document.querySelector('#pins-list strong')?.textContent === 'hello'")
        await click(tab, "#pins-cancel")

        await click(tab, "#write-open")
        await tab.fill("#write-user", "alice", "#write-submit")
        await tab.until("document.querySelector('#write-user').validationMessage.includes('This is you')")
        await click(tab, "#write-cancel")

        await click(tab, "#leave")
        await tab.until("document.activeElement.id === 'rooms-title'")
        assert not await tab.value(shown("#jump"))


async def test_a_link_to_a_private_room_says_so(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await click(alice, "#create-open")
        await click(alice, "#create-private")
        await alice.fill("#create-name", "Secret Plans", "#create-submit")
        await alice.until("location.hash.startsWith('#r-')")
        secret = await alice.value("location.hash.slice(1)")
        await alice.resize(360, 640)
        await alice.until("document.title.includes('Secret Plans')")
        await click(alice, "#back")
        await alice.until("document.title === 'OnRecord'")
        await enter(bob, "Bob")
        await bob.value(f"location.hash = '#{secret}'")
        await bob.until(f"{EMPTY} === 'You are not in the room {secret}.'")
        await click(bob, "#join-named")
        sentence = f"You cannot join {secret}: it may be private. Ask its owner to invite you."
        await bob.until(f"{EMPTY} === '{sentence}'")
        assert not await bob.value(shown("#join-named"))
        await bob.until(f"{NOTICE} !== ''")
        await bob.value("document.querySelector('#room-list [data-room-id=general] button').click()")
        await bob.until(f"{NOTICE} === ''")
