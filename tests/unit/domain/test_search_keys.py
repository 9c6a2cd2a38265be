"""The texts under which people are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.content.search_keys import MAX_KEY, MAX_WORDS, folded, keys_of_name


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("Ann", "ann"),
        ("JOSÉ  Núñez", "jose nunez"),
        ("Straße", "strasse"),
        ("\uff21\uff4e\uff4e", "ann"),
        ("İpek", "ipek"),
        ("山田太郎", "山田太郎"),
        ("https://idp.example/Users/1", "https://idp.example/users/1"),
        ("\x00", ""),
        (" \u0301", ""),
        ("x" * 300, "x" * MAX_KEY),
    ],
)
def test_what_is_compared(text: str, compared: str) -> None:
    assert folded(text) == compared


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("Ann", ["ann"]),
        ("Ann-Marie O'Neil", ["ann-marie o'neil", "marie o'neil", "o'neil", "neil"]),
        ("🎉 Party (ops)", ["🎉 party (ops)", "party (ops)", "ops)"]),
        ("a a", ["a a", "a"]),
        ("", []),
        ("\u0301", []),
        (" ".join("abcdefghijkl"), [" ".join("abcdefghijkl"[start:]) for start in range(MAX_WORDS)]),
    ],
)
def test_a_name_is_found_from_each_word_on(name: str, keys: list[str]) -> None:
    assert keys_of_name(name) == keys


@given(st.text(max_size=300))
def test_every_text_is_bounded_and_compared_with_itself(text: str) -> None:
    assert len(folded(text)) <= MAX_KEY
    assert folded(folded(text)) == folded(text)
    keys = keys_of_name(text)
    assert len(keys) <= MAX_WORDS
    assert all(key and key in folded(text) for key in keys)
