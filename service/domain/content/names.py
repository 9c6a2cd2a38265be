"""Names that people read: display names, names of rooms, and the first line of topics (RFC 8266, the profile Nickname).

Spaces are mapped to single ones, compatibility forms to plain ones (NFKC), and code points that change direction or
show nothing are no part of a name. The case is kept. Emoji of the Unicode emoji data are kept whole, with the joiners
and selectors that the profile alone would refuse.

A user's input is refused (`usable_room_name`, `usable_topic`). Names in tokens, and what earlier versions stored, are
cleaned.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import zip_longest

import emoji
from precis_i18n.context import context_rule_error
from precis_i18n.derived import CONTEXTJ, CONTEXTO, FREE_PVAL, PVALID, derived_property
from precis_i18n.profile import Nickname
from precis_i18n.unicode import UnicodeData

from service.domain.content.reactions import normal_form
from service.domain.content.visible import BLANKS, is_visible
from service.errors import Malformed

MAX_ROOM_NAME = 200
MAX_TOPIC = 1_000
"""Code points of a room's name and of a topic."""

MAX_CLEANED = 4_096
"""Cleaned names in the cache; those of plain ASCII need none."""

MOST_PASSES = 8
"""Passes until a cleaned name stays the same; two are enough for every name known."""

MOST_MARKS = 8
"""Code points read for each one of a shortened name: emoji and removed code points count too."""

_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*+")
_WHITE_SPACE = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]")
"""Controls and separators that are white space, which cleaning turns into spaces."""
_BLANK = re.compile(f"[{BLANKS}]")
_STAND_IN = "\u2606"
"""A white star, for an emoji while the profile is applied: no rule changes it."""
_WHOLE_TEXT = frozenset("\u30fb") | {chr(code) for code in (*range(0x660, 0x66A), *range(0x6F0, 0x6FA))}
"""Code points whose rule depends on the whole text, not on their place in it."""


def usable_room_name(text: str) -> str:
    """Return a room's name in the form of the profile.

    Raises:
        Malformed: it has a code point that no name contains, shows nothing, or is too long in that form.
    """
    if not is_visible(text):
        raise Malformed(problem="A name has at least one visible character - at '$.name'")
    return _usable(text, "name", MAX_ROOM_NAME)


def usable_topic(text: str) -> str:
    """Return a topic whose first line has the form of the profile.

    Raises:
        Malformed: the first line has a code point that no name contains, or the topic becomes too long.
    """
    first, rest = _lines(text)
    return _usable(first, "topic", MAX_TOPIC - len(rest)) + rest


def clean_name(text: str) -> str | None:
    """Return a name without what the profile refuses; None if nothing of it shows."""
    return text if _PLAIN.fullmatch(text) else _clean(text)


def shortened_name(text: str, limit: int) -> str | None:
    """Return a cleaned name of at most `limit` code points; None if nothing of it shows."""
    name = clean_name(text[: MOST_MARKS * limit]) or ""
    return clean_name(name[:limit])  # the cut may be within an emoji


def shown_room(name: str, room: str) -> str:
    """Return the cleaned name of a room, its id if nothing of the name shows."""
    return clean_name(name) or room


def clean_topic(text: str) -> str:
    """Return a topic whose first line is cleaned."""
    first, rest = _lines(text)
    return (clean_name(first) or "") + rest


def shown_topic(topic: str | None) -> str | None:
    """Return the cleaned topic of a room; None if it has none."""
    return clean_topic(topic or "") or None


def _lines(text: str) -> tuple[str, str]:
    """Return the first line and everything from its end on."""
    first = text.splitlines()[0] if text else ""
    return first, text[len(first) :]


def _usable(text: str, field: str, limit: int) -> str:
    if not _PLAIN.fullmatch(text):
        text, kept = _without_emoji(text)
        text = _mapped(text)
        if (place := next(_faults(text), None)) is not None:
            sign = " ".join((f"U+{ord(text[place]):04X}", unicodedata.name(text[place], ""))).strip()
            raise Malformed(problem=f"A name cannot contain {sign} in this place - at '$.{field}'")
        text = _with_emoji(text, kept)
    if len(text) > limit:
        raise Malformed(
            problem=f"Expected `str` of length <= {limit} in its normal form (NFKC) - at '$.{field}'"
        )
    return text


@lru_cache(MAX_CLEANED)
def _clean(text: str) -> str | None:
    text = _WHITE_SPACE.sub(" ", text)
    for _ in range(MOST_PASSES):
        # What is removed may leave a joiner in a wrong place, or a mark that combines with another letter.
        plain, kept = _without_emoji(text)
        plain = _mapped(plain)
        faults = set(_faults(plain))
        cleaned = _with_emoji("".join(char for place, char in enumerate(plain) if place not in faults), kept)
        if cleaned == text:
            return text if is_visible(text) else None
        text = cleaned
    return None


def _without_emoji(text: str) -> tuple[str, list[str]]:
    """Return the text with stand-ins for its emoji, and what they stand for, in order."""
    parts: list[str] = []
    kept: list[str] = []
    read = 0
    for match in emoji.emoji_list(text):
        found = match["emoji"]
        if len(found) == 1 and emoji.EMOJI_DATA[found]["status"] != emoji.STATUS["fully_qualified"]:
            continue  # a sign such as U+2122, to which the profile applies
        before = text[read : match["match_start"]]
        kept += *(_STAND_IN for _ in range(before.count(_STAND_IN))), normal_form(found)
        parts += before, _STAND_IN
        read = match["match_end"]
    kept += (_STAND_IN for _ in range(text.count(_STAND_IN, read)))
    return "".join((*parts, text[read:])), kept


def _with_emoji(text: str, kept: list[str]) -> str:
    pieces = text.split(_STAND_IN)
    return "".join(piece + emoji for piece, emoji in zip_longest(pieces, kept, fillvalue=""))


def _mapped(text: str) -> str:
    """Apply the rules of the profile that map; once more, since the result may have spaces to map (RFC 8266, 2.3)."""
    rules = _profile().apply_five_rules
    return rules(rules(_BLANK.sub(" ", text)))


def _faults(text: str) -> Iterator[int]:
    """Yield the places of code points that the profile does not allow there."""
    data = _profile().base.ucd
    known: dict[str, bool] = {}
    for place, char in enumerate(text):
        allowed = known.get(char)
        if allowed is None:
            kind, _ = derived_property(ord(char), data)
            by_context = kind in (CONTEXTJ, CONTEXTO)
            allowed = not context_rule_error(text, place, data) if by_context else kind in (PVALID, FREE_PVAL)
            if not by_context or char in _WHOLE_TEXT:
                known[char] = allowed
        if not allowed:
            yield place


@cache
def _profile() -> Nickname:
    return Nickname(UnicodeData(), "NicknameCasePreserved")
