"""What a reaction may be, and its normal form.

A reaction is one emoji of the Unicode emoji data (an RGI sequence), or a shortcode such as `:party_parrot:`. The normal
form of an emoji is its fully-qualified form, so the heart with and without a variation selector is one reaction.

Events that were stored before this rule hold other texts, and keep them. They are compared and shown in their normal
form, which for a text that is no emoji is the text itself.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import chain

import emoji

_SHORTCODE = re.compile(r":[a-z0-9_+-]{1,32}:")
_SELECTOR = "\ufe0f"
"""Variation selector 16, in which the forms of one emoji differ."""
_FULLY_QUALIFIED = {
    text.replace(_SELECTOR, ""): text
    for text, about in emoji.EMOJI_DATA.items()
    if about["status"] == emoji.STATUS["fully_qualified"]
}


def is_reaction(text: str) -> bool:
    """Return whether a text is one emoji, in any of its forms, or a shortcode."""
    return text.replace(_SELECTOR, "") in _FULLY_QUALIFIED or _SHORTCODE.fullmatch(text) is not None


def normal_form(text: str) -> str:
    """Return the fully-qualified form of an emoji; any other text as it is."""
    return _FULLY_QUALIFIED.get(text.replace(_SELECTOR, ""), text)


def merged(reactions: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return the users of each reaction by its normal form, both in order of first use, each user once."""
    by_form: dict[str, list[Iterable[str]]] = {}
    for text, users in reactions.items():
        by_form.setdefault(normal_form(text), []).append(users)
    return {form: tuple(dict.fromkeys(chain.from_iterable(groups))) for form, groups in by_form.items()}
