"""How a browser shows a message's text: links, emphasis, code and lists, and nothing that acts by itself."""

from pathlib import Path

import pytest

from tests.support.clients.browser import chromium
from tests.support.clients.page import enter, newcomer
from tests.support.processes.processes import running

TEXT = """See *this* and **that** in `a*b*`: https://a.example/b_(c), (http://b.example).
- one
- two https://user@evil.example
```
<i>x</i> *y*
```
\u05d0\u05d1 javascript:alert(1) https://evil.example/\u202egpj"""

LINKS = "[...document.querySelectorAll('#messages a')].map((a) => [a.textContent, a.href, a.target, a.rel, a.dir])"
CONTENT = "document.querySelector('#messages li:last-child .content')"


@pytest.mark.needs("chromium")
async def test_links_emphasis_code_and_lists_are_shown(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await alice.fill("#message-text", TEXT, "#message-send")
        for tab in (alice, bob):
            await tab.until("document.querySelector('#messages li[data-status=sent] a')")
            assert await tab.value(LINKS) == [
                [text, text + ("/" if text.count("/") == 2 else ""), "_blank", "noopener noreferrer", "ltr"]
                for text in ("https://a.example/b_(c)", "http://b.example", "https://evil.example/")
            ]
            shown = (
                "(tag) => [...document.querySelectorAll(`#messages ${tag}`)].map((one) => one.textContent)"
            )
            tags = {"em": ["this"], "strong": ["that"], "code": ["a*b*", "<i>x</i> *y*"], "i": []}
            for tag, texts in {**tags, "li li": ["one", "two https://user@evil.example"]}.items():
                assert await tab.value(f"({shown})({tag!r})") == texts
            # The last block is of its own direction, and nothing in it turns what comes before around.
            style = f"getComputedStyle({CONTENT}.lastElementChild)"
            assert await tab.value(f"[{style}.direction, {style}.unicodeBidi]") == ["rtl", "isolate"]
            assert await tab.value(f"{CONTENT}.scrollWidth <= {CONTENT}.clientWidth")
        # One's own message is edited as it was written.
        await alice.value("document.querySelector('#messages .menu .edit').click()")
        assert await alice.value("document.querySelector('#message-text').value") == TEXT
