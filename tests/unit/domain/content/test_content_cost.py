"""The cost of checking a message stays within a budget per character, for any markup repeated in any order."""

import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from service.domain.content import markup_bounds, policy
from service.domain.content.markup_bounds import MAX_ATTRIBUTES, MAX_REPEATED, MAX_TAGS
from service.domain.content.policy import check_content
from service.errors import ComplexContent, OnRecordError, UnsafeContent
from tests.support.protocol.budget import peak, pumped
from tests.support.protocol.work import work

LIMIT = 100_000
"""The largest value of the setting."""

PER_CHARACTER = 250
HELD_PER_CHARACTER = 120
PARSER = 2 * 1024**2
"""Bytes that a parser holds for any text."""

MARKUP = [
    "<b>", "<b a=1>", "</b>", "<i>", "<font color=x>", "<nobr>", "<a href=x>", "</a>", "<p>", "</p>", "<p>x", "<div>",
    "</div>", "<table>", "<tr>", "<td>", "</table>", "<svg>", "<math>", "<desc>", "</svg>", "<select>", "<option>",
    "<template>", "<noscript>", "<!--", "-->", "<![CDATA[", "<x", " a", " a=b", " values='", ";", "java;", "'", '"',
    ">", "/>", "&amp;", "&#106;", "&", "<", "x", " ", "é", "🦊", "<textarea>", "</title>", "<button>", "<li>", "<h1>",
]  # fmt: skip

ELEMENTS = 4
"""Elements of a text without repetition: one for each three characters (`<a>`), and those of an empty document."""


class Counted:
    """Counts the elements that the parser makes, without a walk of the Python code."""

    def __init__(self) -> None:
        self.elements: list[int] = []
        self.texts: list[str] = []

    def __call__(self, text: str) -> LexborHTMLParser:
        tree = LexborHTMLParser(text)
        self.texts.append(text)
        self.elements.append(len(tree.css("*")))
        return tree


def attributes(prefix: str) -> Callable[[int], str]:
    """Return a maker of texts with formatting elements of different attributes, which parsers repeat in each `<p>`."""
    return lambda n: (
        f"{prefix}<p>" + "".join(f"<b a{number:x}>" for number in range(n // 20)) + "</p>" + "<p>x" * (n // 8)
    )


SHAPES: dict[str, Callable[[int], str]] = {
    "formatting left open before blocks": attributes(""),
    "the same beside SVG": attributes("<svg></svg>"),
    "the same beside MathML, in capitals": attributes("<MATH>"),
    "formatting without attributes": lambda n: (
        "<p>"
        + "".join(f"<{name}>" * 3 for name in markup_bounds.FORMATTING.split("|"))
        + "</p>"
        + "<p>x" * (n // 4)
    ),
    "elements in elements": lambda n: "<div>" * (n // 5),
    "ends of no element": lambda n: "<q>" * (n // 8) + "</z>" * (n // 8),
    "attributes": lambda n: "<q " + " ".join(f"{number:x}" for number in range(n // 5)) + ">",
    "attributes with quotes": lambda n: "<q " + "".join(f'{number:x}=">"' for number in range(n // 9)) + ">",
    "attributes of many tags": lambda n: "<q " * (n // 6) + "a " * (n // 4),
    "the parts of a list": lambda n: "<q values='" + "java;" * (n // 5) + "'>",
    "angle brackets": lambda n: "<" * n,
    "comments": lambda n: "<!-- " * (n // 5),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [2_000, 10_000, 20_000, LIMIT])
def test_a_parser_makes_few_elements_of_any_shape(
    shape: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted()
    monkeypatch.setattr(policy, "LexborHTMLParser", counted)
    with suppress(OnRecordError):
        check_content(SHAPES[shape](size), LIMIT)
    for elements, text in zip(counted.elements, counted.texts, strict=True):
        assert elements <= ELEMENTS + len(text) / 3 + MAX_REPEATED * markup_bounds.is_foreign(text)
        assert len(re.findall("<[a-zA-Z/]", text)) <= MAX_TAGS
    assert len(counted.texts) <= 2


def check(content: str) -> None:
    with suppress(OnRecordError):
        check_content(content, LIMIT)


@given(pumped(MARKUP, 1_500))
@settings(max_examples=60, deadline=None)
def test_the_work_of_a_check_is_within_its_budget(content: str) -> None:
    repeated = MAX_REPEATED if markup_bounds.is_foreign(content) else 0
    assert work(lambda: check(content)) <= 8_000 + PER_CHARACTER * (len(content) + 4 * repeated)


@given(pumped(MARKUP, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_memory_of_a_check_is_within_its_budget(content: str) -> None:
    assert peak(lambda: check(content)) <= PARSER + HELD_PER_CHARACTER * (
        len(content) + MAX_REPEATED * markup_bounds.is_foreign(content)
    )


@given(st.lists(st.sampled_from(MARKUP), max_size=30).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_text_is_parsed_twice(content: str) -> None:
    counted = Counted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "LexborHTMLParser", counted)
        with suppress(OnRecordError):
            check_content(content, LIMIT)
    assert len(set(counted.texts)) == len(counted.texts)


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        ("<q>" * MAX_TAGS, "<q>" * (MAX_TAGS + 1)),
        (
            "<q" + "".join(f" a{n}" for n in range(MAX_ATTRIBUTES - 1)) + ">",
            "<q" + "".join(f" a{n}" for n in range(MAX_ATTRIBUTES + 1)) + ">",
        ),
        ("<svg></svg>" + "<i c>" * 100 + "<p>x" * 98, "<svg></svg>" + "<i c>" * 100 + "<p>x" * 99),
    ],
)
def test_markup_within_the_bounds_passes_and_beyond_is_refused(within: str, beyond: str) -> None:
    check_content(within, LIMIT)
    with pytest.raises(ComplexContent) as refused:
        check_content(beyond, LIMIT)
    assert refused.value.code == UnsafeContent.code


def test_a_long_text_with_many_words_and_a_tag_passes() -> None:
    check_content("<b>one</b> " + "word " * 15_000 + "<i>last</i>", LIMIT)


def test_a_tag_name_with_a_long_s_hides_nothing() -> None:
    with pytest.raises(UnsafeContent):
        check_content("<template><\u017felect title='<img src=x onerror=alert(1)>'>", LIMIT)


@pytest.mark.parametrize("name", markup_bounds.FORMATTING.split("|"))
@pytest.mark.parametrize("foreign", ["", "<svg></svg>", "<math>", "<svg><desc>"])
@pytest.mark.parametrize(
    "form", ["<{} onclick=x>", "<{0}><{0} onclick=x>", "<{}><img onerror=x>", "<{} onclick=x"]
)
def test_a_formatting_element_that_acts_is_refused(name: str, foreign: str, form: str) -> None:
    for spelled in (name, name.upper()):
        with pytest.raises(UnsafeContent, match="an on"):
            check_content(foreign + form.format(spelled), LIMIT)


def test_formatting_that_ends_a_foreign_element_is_read_as_in_a_browser() -> None:
    for name in ("b", "font color=x"):
        with pytest.raises(UnsafeContent, match="an on"):
            check_content(f"<svg><{name}><noembed><p title='</noembed><img src=x onerror=alert(1)>'>", LIMIT)
