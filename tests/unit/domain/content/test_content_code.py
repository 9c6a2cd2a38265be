"""Markup in the code of a message is text; outside, the policy holds."""

from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from service.domain.content.code import MAX_NESTED, outside_code
from service.domain.content.policy import check_content
from service.errors import UnsafeContent
from tests.support.protocol.budget import peak, pumped
from tests.support.protocol.work import work

LIMIT = 100_000
ACTIVE = "<img src=x onerror=alert(1)>"


def check(content: str) -> None:
    check_content(content, LIMIT)


@pytest.mark.parametrize(
    "content",
    [
        "`<script>`",
        "use `<script>alert(1)</script>` for scripts, `<iframe>` for frames",
        f"``a ` {ACTIVE}``",
        f"`{ACTIVE}\n{ACTIVE}`",
        f"```\n{ACTIVE}\n```",
        f"```html\n<script>\n\n\n{ACTIVE}\n```\nand after it",
        f"~~~\n{ACTIVE}\n~~~",
        f"````\n```\n{ACTIVE}\n```\n````",
        f"```\n{ACTIVE}",  # a fence that is not closed ends with the message
        f"> ```\n> {ACTIVE}\n> ```",
        f"> a `b\n> {ACTIVE}`",
        f"- one\n  - two\n    ```\n    {ACTIVE}\n    ```\n",
        f"1. `{ACTIVE}`",
        f"# `{ACTIVE}`",
        f"[`{ACTIVE}`](https://example.org)",
        f"![`{ACTIVE}`](cat.png)",
        f"**`{ACTIVE}`**",
        f"\\\\`{ACTIVE}`",
        f"<b>`{ACTIVE}`</b>",
        f"[a]: ` {ACTIVE}`",  # no title, so no reference
        f"a < b, `{ACTIVE}`, a <b and c",
        f"a <b and `{ACTIVE}`",
        f"<div>\n\n```\n{ACTIVE}\n```\n\n</div>",
        f"<div title='x'>\n\n`' {ACTIVE}`",
        f"<https://example.org> `{ACTIVE}`",
        f"é🦊 `{ACTIVE}` é🦊 <b>",
        f"```\r\n{ACTIVE}\r\n```\r\n",
        f"```\r{ACTIVE}\r```\r",
        f"```\n{ACTIVE}\n```\t\n<b>after</b>",
        "`<b>`" * 2_000 + "<b>",
    ],
)
def test_markup_in_code_passes(content: str) -> None:
    check(content)


@pytest.mark.parametrize(
    "content",
    [
        ACTIVE,
        f"`code` {ACTIVE}",
        f"{ACTIVE} `code`",
        f"`` ` {ACTIVE}",
        f"` {ACTIVE} ``",
        f"\\`{ACTIVE}`",
        f"`a\n\n{ACTIVE}`",
        f"`a\n- {ACTIVE}`",
        '<img title="`" onerror=alert(1) x="`">',
        "<img title='`' src=x onerror='alert(1)' x='`'>",
        f"<!-- ` -->{ACTIVE}<!-- ` -->",
        f"<?` ?>{ACTIVE}`",
        f"<![CDATA[`]]>{ACTIVE}`",
        f"<https://example.org/`>{ACTIVE}`",
        f"[a](`) {ACTIVE} `",
        f"[a](b '`') {ACTIVE} `",
        f"[`]: https://example.org\n[a][`] {ACTIVE} `",
        f"<div>\n`{ACTIVE}`\n</div>",
        f"<div>\n```\n{ACTIVE}\n```\n</div>",
        f"<pre>\n\n```\n{ACTIVE}\n```\n</pre>",
        f"<!--\n\n```\n-->\n{ACTIVE}\n```\n-->",
        f"    {ACTIVE}",
        f"    ```\n    {ACTIVE}\n",
        f"~~\n{ACTIVE}\n~~",
        f"~~~ {ACTIVE}\n~~~\n{ACTIVE}",
        f"``` a`b\n{ACTIVE}\n",
        f"```\nx\n```\n{ACTIVE}",
        f"```\nx\n```\t\n{ACTIVE}",
        f"```\nx\n``` \t \r\n{ACTIVE}",
        f"```\r```\r{ACTIVE}",
        f"> ```\n{ACTIVE}",
        f"- ```\n{ACTIVE}",
        f"`<!--` {ACTIVE}",
        f"`<template><!--<title>` {ACTIVE}",
        f"```\n<textarea>\n```\n{ACTIVE}",
        "`code`<script>`code`",
        "`x` <a href='javascript:alert(1)'>",
        "x `y` <img src=x onerror=alert(1)",
        # The code of a renderer is within the tag that an HTML block leaves open.
        "<div title='\n\n```\n' onclick=alert(1) x='\n```",
        "<div title='\n\nfoo `' onclick=alert(1) x='` bar",
        "<div title='\n\n```&apos;onclick=alert(1)\n```",
        "> <div title='\n\n`' onclick=alert(1) x='`",
        f"<svg>`x`<noembed><p title='</noembed>{ACTIVE}'>",
    ],
)
def test_markup_outside_code_is_refused(content: str) -> None:
    with pytest.raises(UnsafeContent):
        check(content)


def test_code_in_too_many_lists_is_checked_as_text() -> None:
    check("> " * MAX_NESTED + f"`{ACTIVE}`")
    with pytest.raises(UnsafeContent):
        check("> " * (MAX_NESTED + 1) + f"`{ACTIVE}`")
    check("> " * (MAX_NESTED + 1) + "`<b>`")
    check("-" * 1_000 + f"\n`{ACTIVE}`")
    check(" " * 1_000 + f"\n\n`{ACTIVE}`")


PIECES = [
    "`", "``", "```", "````", "~~~", "\n", "\n\n", "\r", "\r\n", " ", "    ", "\t", "> ", ">",
    "- ", "1. ", "# ", "=\n", "---", "[", "]", "(", ")", "](", "![", "[a]: `\n", "<", ">", "<b>",
    "<a b='", "<div>", "<div title='", "<pre>", "</pre>", "<!--", "-->", "<?", "?>", "<![CDATA[",
    "]]>", "<!x ", "<http:x", "'", '"', "\\", "&amp;", "*", "x", "é", "🦊", "=", "/", ACTIVE,
    ACTIVE, ACTIVE,
]  # fmt: skip
RENDERER = MarkdownIt("commonmark", {"html": True, "maxNesting": 1_000})


@given(st.lists(st.sampled_from(PIECES), min_size=2, max_size=14).map("".join))
@settings(max_examples=1_000, deadline=None)
def test_what_passes_beside_code_is_safe_in_another_renderer(content: str) -> None:
    if outside_code(content) == (content,):
        return  # no code
    with suppress(UnsafeContent):
        check(content)
        with suppress(IndexError):  # markdown-it-py fails at some tabs in lists
            tree = LexborHTMLParser(RENDERER.render(content))
            assert not tree.css("[onerror]")


@given(pumped([*PIECES, "[a]", "[a]: b\n", "- - ", "_", "**"], 3_000))
@settings(max_examples=150, deadline=None)
def test_the_work_of_finding_code_is_within_its_budget(content: str) -> None:
    assert work(lambda: outside_code(content)) <= 2_000 + 120 * len(content)


@given(pumped(PIECES, 20_000))
@settings(max_examples=60, deadline=None)
def test_the_memory_of_finding_code_is_within_its_budget(content: str) -> None:
    assert peak(lambda: outside_code(content)) <= 64 * 1024 + 60 * len(content)


@given(st.text())
@settings(max_examples=300)
def test_text_without_code_is_checked_as_it_is(content: str) -> None:
    assume("`" not in content and "~~~" not in content)
    assert outside_code(content) == (content,)
