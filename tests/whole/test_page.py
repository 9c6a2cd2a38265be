"""What a newcomer does: one command, two windows, a chat, and its history after a restart."""

import os
from pathlib import Path

import pytest

from tests.whole.browser import Tab, chromium
from tests.whole.processes import running

SAID = "[...document.querySelectorAll('#messages .content')].map(one => one.textContent)"


def newcomer(place: Path) -> dict[str, str]:
    """Return the environment of somebody who has set nothing but where the data goes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")}
    return inherited | {"ONRECORD_DATA_DIR": str(place), "ONRECORD_PORT": "0"}


async def enter(tab: Tab, name: str) -> None:
    await tab.fill("#signin-name", name, "#signin-submit")
    await tab.until("document.querySelector('#connection-state')?.dataset.status === 'connected'")
    await tab.fill("#join-room", "general", "#join-submit")
    await tab.until("document.querySelector('#room-list li[data-room-id=general]')")


@pytest.mark.needs("chromium")
async def test_two_windows_chat_and_find_their_history_after_a_restart(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await alice.fill("#message-text", "Hello Bob, <b>a < b</b> is text", "#message-send")
        await bob.until(f"{SAID}.includes('Hello Bob, <b>a < b</b> is text')")
        await bob.fill("#message-text", "Hello Alice", "#message-send")
        await alice.until(f"{SAID}.includes('Hello Alice')")
        await alice.until("document.querySelectorAll('#messages li[data-status=sent]').length === 2")
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "another") as browser:
        carol = await browser.open(server.address)
        await enter(carol, "Carol")
        await carol.until(f"{SAID}.length === 2")
        assert await carol.value(SAID) == ["Hello Bob, <b>a < b</b> is text", "Hello Alice"]
