"""The page in the viewport of a phone: nothing covers the text of messages."""

from pathlib import Path

import pytest

from tests.support.clients.browser import chromium
from tests.support.clients.page import enter, message, newcomer, say
from tests.support.processes.processes import running

# Pairs of a menu's button and a part of its message that overlap.
COVERED = """[...document.querySelectorAll('#messages .body')].flatMap((body) => {
    const button = body.querySelector('.menu summary').getBoundingClientRect()
    return [...body.querySelectorAll('.quote, .head, .content, .chip')].filter((part) => {
        const texts = document.createRange()
        texts.selectNodeContents(part)
        return [...texts.getClientRects()].some((text) =>
            Math.min(text.right, part.getBoundingClientRect().right) > button.left && text.left < button.right &&
            text.bottom > button.top && text.top < button.bottom)
    }).map((part) => part.className)
})"""


@pytest.mark.needs("chromium")
async def test_the_menu_of_a_message_covers_no_text_on_a_phone(place: Path, tmp_path: Path) -> None:
    long = "long words that fill more than one line of a narrow screen " * 3
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        tab = await browser.open(server.address)
        await tab.resize(360, 640)
        await enter(tab, "Alice")
        await say(tab, long)
        await tab.value(f"{message(long)}.querySelector('.menu .reply').click()")
        await say(tab, "An answer " + long)
        await say(tab, long + "in one breath with the answer")
        assert (
            await tab.value("document.querySelectorAll('#messages .quote, #messages .continued').length") >= 2
        )
        assert await tab.value(COVERED) == []
        assert await tab.value("document.documentElement.scrollWidth") <= 360
        assert await tab.value("document.querySelector('#room-name').clientWidth") >= 200
        assert await tab.value("document.querySelector('#leave').getBoundingClientRect().right") <= 360
