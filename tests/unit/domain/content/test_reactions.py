"""The forms of an emoji are one reaction, also in events that were stored before this was a rule."""

import emoji
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.content.reactions import is_reaction, merged, normal_form

PLAIN, HEART = "\u2764", "\u2764\ufe0f"
SENTENCE = st.sampled_from(["ab", ":party:", PLAIN, HEART, "\U0001f44d", "\U0001f44d\ufe0f", "", "\ufe0f"])


@pytest.mark.parametrize("status", ["fully_qualified", "minimally_qualified", "unqualified"])
def test_each_form_of_an_emoji_is_a_reaction_in_its_qualified_form(status: str) -> None:
    for text, about in emoji.EMOJI_DATA.items():
        if about["status"] == emoji.STATUS[status]:
            assert is_reaction(text)
            assert emoji.EMOJI_DATA[normal_form(text)]["status"] == emoji.STATUS["fully_qualified"]
            assert normal_form(text).replace("\ufe0f", "") == text.replace("\ufe0f", "")


@given(SENTENCE | st.text())
def test_the_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)
    assert is_reaction(normal_form(text)) == is_reaction(text)


def test_a_user_of_two_forms_is_counted_once() -> None:
    stored = {PLAIN: ("alice", "bob"), "ab": ("carol",), HEART: ("bob", "dave")}
    assert merged(stored) == {HEART: ("alice", "bob", "dave"), "ab": ("carol",)}
