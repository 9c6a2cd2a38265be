"""What shows something and what does not, by Unicode's own data as far as this Python has it."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.content.visible import is_visible

ASSIGNED = [
    chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")
]
SIGNS = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Formats that are shown (property Prepended_Concatenation_Mark)."""
FILLERS = set("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0\U00016fe4\u2800\U0001d159")
SELECTORS = {
    chr(code) for first, last in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(first, last + 1)
}
EGYPTIAN = {chr(code) for code in range(0x13430, 0x13443)}
"""Hieroglyph controls and blanks, whose categories differ between versions of Unicode."""


def test_spaces_controls_formats_and_fillers_show_nothing() -> None:
    hidden = {
        each for each in ASSIGNED if unicodedata.category(each) in ("Cc", "Cf", "Zs", "Zl", "Zp")
    } - SIGNS
    shown = {each for each in ASSIGNED if is_visible(each)}
    assert set(ASSIGNED) - shown - EGYPTIAN == (hidden | FILLERS | SELECTORS) - EGYPTIAN


@pytest.mark.parametrize(
    "text",
    [
        "a", "\u0438\u0306", "e\u0301", "\u05d0", "\u0e01\u0e34", "\ud55c", "\u1112\u1161\u11ab", "\u0915\u094d\u200d",
        "\u06dd", "\u2764\ufe0f", "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "1\ufe0f\u20e3", "\U0001f1e9\U0001f1ea",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\u2801",
        "\ue000",
    ],
)  # fmt: skip
def test_every_script_and_emoji_shows_something(text: str) -> None:
    assert is_visible(text)


@given(st.text(), st.sampled_from("a\u4e2d\u2764\U0001f600"), st.text())
def test_one_visible_character_is_enough(before: str, character: str, after: str) -> None:
    assert is_visible(before + character + after)
    assert is_visible(before + after) == any(map(is_visible, before + after))
