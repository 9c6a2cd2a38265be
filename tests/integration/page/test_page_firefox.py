"""The page in Firefox: what no test in Chromium shows of another engine."""

from pathlib import Path

import pytest

from tests.support.clients.page import SAID, enter, message, newcomer, say
from tests.support.page.firefox import firefox
from tests.support.processes.processes import running


@pytest.mark.needs("firefox")
async def test_two_windows_of_firefox_chat_answer_and_react(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, firefox(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await say(alice, "Hello @BOB, <b>a < b</b> is text")
        row = message("Hello @BOB, <b>a < b</b> is text")
        await bob.until(f"{row}?.classList.contains('for-me')")
        await bob.value(f"{row}.querySelector('.menu .emoji').click()")
        await alice.until(f"{row}.querySelector('.chip')?.textContent === '👍 1'")
        assert await alice.value(f"{row}.querySelector('.chip').ariaPressed") == "false"
        await bob.until(f"{row}.querySelector('.chip').ariaPressed === 'true'")
        await say(bob, "Hello Alice")
        await alice.until(f"{SAID}.includes('Hello Alice')")
