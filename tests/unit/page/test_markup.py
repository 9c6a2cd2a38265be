"""What the page shows of a message's text: links, emphasis, code and lists, as data without HTML."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.page.page_modules import PageModules

pytestmark = pytest.mark.needs("node")

MOST = 500
LONG = 512 * 1024
"""Characters that take minutes where the work is quadratic; the limit of the test ends it then."""


def blocks(page: PageModules, content: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.call("markup.js", "blocksOf", content)
    return found


def brief(part: Any) -> str:
    """Return a part in short: em(...), strong(...), code(...) and link(...)."""
    if isinstance(part, str):
        return part
    inner = part["text"] if "text" in part else "".join(map(brief, part["parts"]))
    return f"{part['kind']}({inner})"


def parts_of(page: PageModules, content: str) -> str:
    (block,) = blocks(page, content)
    assert block["kind"] == "text"
    return "".join(map(brief, block["parts"]))


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("*a* **b** ***c***", "em(a) strong(b) strong(em(c))"),
        ("**a *b* c** *a **b** c*", "strong(a em(b) c) em(a strong(b) c)"),
        ("***a** b* ***a* b**", "em(strong(a) b) strong(em(a) b)"),
        ("(*a*), *b*. \u201c*c*\u201d", "(em(a)), em(b). \u201cem(c)\u201d"),
        ("*a **b* c**", "em(a **b) c**"),
        ("*a *b*", "*a em(b)"),
        ("2*3*4 and 5 * 6 * 7", None),
        ("f(*args, **kwargs)", None),
        ("**a* *b* ****c**** * **", "**a* em(b) ****c**** * **"),
        ("*a\nb*", None),
        (r"\*a\* \`b`", None),
        ("snake_case_name _a_ __b__ ~~c~~", None),
        ("这是*强调*文字 *강조*를", "这是em(强调)文字 em(강조)를"),
        ("*é* é*a*", "em(é) é*a*"),
        ("`a` ``b`c`` ` d ` ` `", "code(a) code(b`c) code(d) code( )"),
        ("`*a*` *`b`* `https://a.example`", "code(*a*) em(code(b)) code(https://a.example)"),
        ("*a `b* c`", "*a code(b* c)"),
        ("`a ``b", None),
        ("<b>a</b> &amp; <script>", None),
        ("# a\n> b\n[c](d)\n![e](f)\n---", None),
    ],
)
def test_emphasis_and_code(page: PageModules, content: str, shown: str | None) -> None:
    assert parts_of(page, content) == (content if shown is None else shown)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("see https://a.example.", "see link(https://a.example)."),
        ("HTTP://A.example/B?c=d&e#f!", "link(HTTP://A.example/B?c=d&e#f)!"),
        ("(https://a.example/b_(c)), d", "(link(https://a.example/b_(c))), d"),
        ("[a](https://a.example/b)", "[a](link(https://a.example/b))"),
        ("<https://a.example> \"https://b.example\" 'https://c.example'",
         "<link(https://a.example)> \"link(https://b.example)\" 'link(https://c.example)'"),
        ("**https://a.example/*b** *https://a.example/*", "strong(link(https://a.example/*b)) em(link(https://a.example/))"),
        ("https://a.example/b_c*d*e", "link(https://a.example/b_c*d*e)"),
        ("看https://a.example/路径\uff0c好", "看link(https://a.example/路径)\uff0c好"),
        ("https://a.example/(((", "link(https://a.example/((()"),
        ("https://a.example/)))", "link(https://a.example/))))"),
        ("https://[::1]:8000/a http://127.0.0.1:1", "link(https://[::1]:8000/a) link(http://127.0.0.1:1)"),
        ("https://a.example`b`", "link(https://a.example)code(b)"),
        ("https://a.example/\u202egpj.exe", "link(https://a.example/)\u202egpj.exe"),
        ("https://a.example/\u200bb", "link(https://a.example/)\u200bb"),
        ("https://xn--80ak6aa92e.example https://\u0430\u0440\u0440\u04cf\u0435.example",
         "link(https://xn--80ak6aa92e.example) link(https://\u0430\u0440\u0440\u04cf\u0435.example)"),
        ("javascript:alert(1) JaVaScRiPt://a.example data:text/html,a vbscript:a file:///a ftp://a.example", None),
        ("mailto:a@b.example a.example www.a.example //a.example", None),
        ("https://user@a.example https://bank.example:pw@a.example https://bank.example@a.example/", None),
        ("http:// https://, http://. https:/// http://[ http://a:99999 http://%", None),
        ("xhttps://a.example 1http://a.example", None),
        (f"https://a.example/{'b' * 3_000}", None),
    ],
)  # fmt: skip
def test_links(page: PageModules, content: str, shown: str | None) -> None:
    assert parts_of(page, content) == (content if shown is None else shown)


def text(content: str) -> dict[str, Any]:
    return {"kind": "text", "parts": [content]}


def code(content: str) -> dict[str, Any]:
    return {"kind": "code", "text": content}


def items(*found: tuple[int, int | None, str]) -> dict[str, Any]:
    rows = [{"level": level, "number": number, "parts": [words]} for level, number, words in found]
    return {"kind": "list", "ordered": found[0][1] is not None, "items": rows}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a\n\nb\n", [text("a\n\nb\n")]),
        ("a\r\nb\rc", [text("a\nb\nc")]),
        ("a\n```\n*b*\n\n  c\n```\nd", [text("a"), code("*b*\n\n  c"), text("d")]),
        ("```js\na\n``\n````", [code("a\n``")]),
        ("~~~ a`b\n```\n~~~", [code("```")]),
        ("```\na", [code("a")]),
        ("``` a ``` b", None),
        ("    ```\na", [text("    ```\na")]),
        ("- a\n* b\nc", [items((0, None, "a"), (0, None, "b")), text("c")]),
        ("a:\n\n1. b\n3. c", [text("a:"), items((0, 1, "b"), (0, 3, "c"))]),
        ("- a\n  - b\n        - c", [items((0, None, "a"), (1, None, "b"), (3, None, "c"))]),
        ("- a\n1. b\n- c", [items((0, None, "a")), items((0, 1, "b")), items((0, None, "c"))]),
        ("- a\n\n- b", [items((0, None, "a")), items((0, None, "b"))]),
        ("-a\n*b\n- \n1) c\n1.d\n+ e", [text("-a\n*b\n- \n1) c\n1.d\n+ e")]),
        ("- *a* b", [{"kind": "list", "ordered": False, "items": [
            {"level": 0, "number": None, "parts": [{"kind": "em", "parts": ["a"]}, " b"]}]}]),
    ],
)  # fmt: skip
def test_blocks(page: PageModules, content: str, found: list[dict[str, Any]] | None) -> None:
    if found is None:
        found = [{"kind": "text", "parts": [{"kind": "code", "text": "a"}, " b"]}]
    assert blocks(page, content) == found


def parts_in(found: list[dict[str, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield each part with its depth, in the order of the text."""
    for block in found:
        if block["kind"] == "code":
            yield 0, block["text"]
        for item in block.get("items", [block]):
            yield from _parts(item.get("parts", ()), 0)


def _parts(parts: list[Any], depth: int) -> Iterator[tuple[int, Any]]:
    for part in parts:
        yield depth, part
        if isinstance(part, dict):
            yield from _parts(part.get("parts", ()), depth + 1)


@given(
    st.lists(st.sampled_from([*"*`-1. \n\\ab@()[]~\u202e😀", "http://", "https://a.b/", "```\n", "**", "- "]))
)
def test_every_text_is_shown_in_order_and_as_typed(page: PageModules, pieces: list[str]) -> None:
    content = "".join(pieces)
    place = 0
    for depth, part in parts_in(blocks(page, content)):
        assert depth <= 2
        shown = part if isinstance(part, str) else part.get("text", "")
        place = content.index(shown, place) + len(shown)
        if isinstance(part, dict) and part["kind"] == "link":
            assert part["href"].startswith(("http://", "https://"))
            assert not any(mark in shown for mark in "\u202e\n ")


HOSTILE = (
    "*a ", "a* ", "*a*", "**a", "***a ", "***a***", "* ", "*", "`a", "``a`", "`", "`` ` ", "http://", "http://[",
    "xhttp://", "http://a ",
    "http://a/(", "http://a)", ")", "https://a@", "- ", "- a\n", "  ", "1. a\n", "```\n", "~~~",
    "```\n\n", "\n", " \n", "\\*", "😀*", "\uff41*", "a*`http://b`*",
)  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("around", ["%s", "http://a.example/%s", "*a%s*", "a\n%sa\n```\n"])
def test_hostile_text_takes_linear_time_and_makes_few_elements(
    page: PageModules, unit: str, around: str
) -> None:
    found = blocks(page, around.replace("%s", unit * (LONG // 4 // len(unit))))
    assert sum(isinstance(part, dict) for _, part in parts_in(found)) <= MOST
    assert sum(len(block.get("items", [0])) for block in found) <= 2 * MOST + 2
