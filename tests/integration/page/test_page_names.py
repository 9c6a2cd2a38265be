"""Names on the page: isolated from the text around them, and with the user id where two members have one name."""

from pathlib import Path

import pytest

from tests.support.clients.browser import chromium
from tests.support.clients.page import SAID, enter, message, newcomer, say
from tests.support.processes.processes import running

MEMBERS = "[...document.querySelectorAll('#member-list .name')].map(each => each.textContent)"
CODE = "`<img src=x onerror=document.title='ran'>`"


@pytest.mark.needs("chromium")
async def test_two_members_of_one_name_are_told_apart_and_names_are_isolated(
    place: Path, tmp_path: Path
) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, other = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await say(alice, "I am alone")
        author = f"{message('I am alone')}.querySelector('.author')"
        assert await alice.value(f"{author}.textContent") == "Alice"
        await enter(other, "\u202e\uff21lice")  # whose user id is "u202ealice", and whose name is cleaned
        await say(other, "I am Alice too")
        await alice.until(
            f"{message('I am Alice too')}?.querySelector('.author').textContent === 'Alice (u202ealice)'"
        )
        await alice.until(f"{author}.textContent === 'Alice (alice)'")
        assert await alice.value(f"[...{author}.querySelectorAll('bdi')].map(each => each.textContent)") == [
            "Alice",
            "alice",
        ]
        assert sorted(await alice.value(MEMBERS)) == ["Alice (alice) (you)", "Alice (u202ealice)"]
        for named in ("#room-name", "#who", "#room-list li"):
            assert await alice.value(f"document.querySelector({named!r}).querySelector('bdi').textContent")
        await other.fill("#message-text", CODE, "#message-send")
        await alice.until(f"{SAID}.includes({CODE[1:-1]!r})")
        assert not await alice.value("document.querySelector('#messages img') || document.title === 'ran'")
