"""Names have the form of RFC 8266 (PRECIS Nickname, case preserved), and keep their emoji."""

import emoji
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from precis_i18n import get_profile
from precis_i18n.context import context_rule_error
from precis_i18n.unicode import UnicodeData

from service.domain.content import names
from service.domain.content.names import (
    MAX_ROOM_NAME,
    MAX_TOPIC,
    clean_name,
    clean_topic,
    shortened_name,
    shown_room,
    usable_room_name,
    usable_topic,
)
from service.domain.content.visible import is_visible
from service.errors import Malformed

FAMILY = "👩‍👩‍👧‍👦"
FLAG = "🏴󠁧󠁢󠁥󠁮󠁧󠁿"

SAME = [
    "Ann", "ann", "Ann Lee", "O'Neil <x>", "Ünal", "Ελένη", "Иван", "مرحبا", "שלום abc", "नमस्ते",
    "漢字", "ひらがな", "ア・ア", "col·lecció", "\u0645\u06cc\u200c\u062e\u0648", "क्\u200dष", "٣٤", "🦊",
    "Ann 🦊", FAMILY, f"Ann {FAMILY} Lee", FLAG, "🇩🇪", "1️⃣", "❤️", "❤", "👍🏽", "™️", "☆", "☆❤️☆",
    "©", "🏳️‍🌈", "Åsa", "é", "\ufffd",
]  # fmt: skip

MAPPED = {
    "  Ann   Lee ": "Ann Lee",
    "Ann\u00a0Lee": "Ann Lee",
    "Ann\u3000\u2003Lee": "Ann Lee",
    "\uff21\uff4e\uff4e": "Ann",
    "ﬁ": "fi",
    "™": "TM",
    "e\u0301": "é",
    "A\u2800\u2800B": "A B",
    "🏳\u200d🌈": "🏳️\u200d🌈",
    "1\u20e3": "1️⃣",
    f" {FAMILY}  x": f"{FAMILY} x",
}

CLEANED = {
    "A\u200bnn": "Ann",
    "\u202eAnn": "Ann",
    "Ann\u202e\u2066\u200f": "Ann",
    "\ufeffAnn\u00ad": "Ann",
    "An\u200dn": "Ann",
    "An\u0000n": "Ann",
    "An\ud800n": "Ann",
    "Ann\tLee\r\n": "Ann Lee",
    "e\u200b\u0301": "é",
    "Ann\u3164": "Ann",
    "a·b": "ab",
    "👩\u200d🦊": "👩🦊",
    "Ann\ufe0f": "Ann",
    "🦊\ufe0f": "🦊",
    "❤\ufe0e": "❤",
    "\u0378Ann": "Ann",
    "٣۴": "",
    "A\u200bB \u200b C": "AB C",
}

NOTHING = ["", " ", "\u200b", "\u202e\u200d", "\u2800", "\u3164", "\t\n", "\ufe0f"]


@pytest.mark.parametrize("name", SAME)
def test_a_name_in_the_form_of_the_profile_stays(name: str) -> None:
    assert clean_name(name) == usable_room_name(name) == usable_topic(name) == name


@pytest.mark.parametrize(("name", "mapped"), MAPPED.items())
def test_spaces_and_forms_are_mapped(name: str, mapped: str) -> None:
    assert clean_name(name) == usable_room_name(name) == usable_topic(name) == mapped


@pytest.mark.parametrize(("name", "cleaned"), CLEANED.items())
def test_what_the_profile_refuses_is_cleaned_or_refused(name: str, cleaned: str) -> None:
    assert (clean_name(name) or "") == cleaned
    for usable in (usable_room_name, usable_topic):
        with pytest.raises(Malformed, match="cannot contain U\\+"):
            usable(name)


@pytest.mark.parametrize("name", NOTHING)
def test_a_name_that_shows_nothing_is_none(name: str) -> None:
    assert clean_name(name) is None
    assert shown_room(name, "general") == "general"
    with pytest.raises(Malformed, match="at least one visible character"):
        usable_room_name(name)


def test_a_refusal_names_the_code_point_and_the_field() -> None:
    with pytest.raises(Malformed) as refused:
        usable_room_name("Pro\u202eject")
    assert refused.value.data["problem"] == (
        "A name cannot contain U+202E RIGHT-TO-LEFT OVERRIDE in this place - at '$.name'"
    )
    with pytest.raises(Malformed, match=r"U\+200B ZERO WIDTH SPACE in this place - at '\$\.topic'"):
        usable_topic("a\u200bb\nmore")


def test_only_the_first_line_of_a_topic_is_held_to_the_profile() -> None:
    rest = "\n  two  \u202e lines\n\n"
    assert usable_topic("  One   line " + rest) == "One line" + rest
    assert clean_topic("One\u200b line" + rest) == "One line" + rest
    assert usable_topic("") == clean_topic("") == usable_topic("  ") == ""
    assert usable_topic(rest) == clean_topic(rest) == rest


def test_a_name_that_grows_is_measured_in_its_normal_form() -> None:
    assert usable_room_name("ﬁ" * 100) == "fi" * 100
    with pytest.raises(Malformed, match="<= 200"):
        usable_room_name("ﬁ" * 101)
    with pytest.raises(Malformed, match="<= 1000"):
        usable_topic("\ufdfa" * 60)
    assert usable_topic("ﬁ" + "\n" * (MAX_TOPIC - 2)) == "fi" + "\n" * (MAX_TOPIC - 2)


def test_a_shortened_name_ends_between_emoji() -> None:
    assert shortened_name("x" * 300, 100) == "x" * 100
    assert shortened_name("x" * 98 + FAMILY, 100) == "x" * 98 + "👩"
    assert shortened_name("\u200b" * 500 + "Ann", 100) == "Ann"
    assert shortened_name("\u200b" * 5_000 + "Ann", 100) is None
    assert shortened_name("\ufdfa" * 100, 100) is not None


@pytest.mark.parametrize("text", sorted(emoji.EMOJI_DATA)[::7])
def test_every_fully_qualified_emoji_stays(text: str) -> None:
    if emoji.EMOJI_DATA[text]["status"] == emoji.STATUS["fully_qualified"]:
        assert clean_name(text) == usable_room_name(text) == text


PIECES = [
    "A", "nn", " ", "  ", "\t", "\u00a0", "\u2800", "\u200b", "\u200c", "\u200d", "\u202e",
    "\ufe0f", "\ufe0e", "\u20e3", "1", "·", "l", "\u30fb", "ア", "\u0660", "\u06f0", "\u0644",
    "\u0651", "क", "\u094d", "\u0301", "👩", "🦊", "❤", "☆", "™", "ﬁ", "🏳", "🌈", "🇩", "🇪", FAMILY,
    FLAG, "👍", "🏽", "\u0378", "\ud800", "\x00", "\u05f3", "א", "\u0375", "Ω", "\u1160",
    "\U000e0067", "\U000e007f", "🏴",
]  # fmt: skip
TEXTS = st.text(st.characters(), max_size=40) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
PROFILE = get_profile("NicknameCasePreserved")


@given(TEXTS)
@settings(max_examples=1_500, deadline=None)
@example("1\u200b\u20e3")
@example("🇩\u200b🇪")
def test_a_cleaned_name_stays_cleaned_and_is_usable(text: str) -> None:
    cleaned = clean_name(text)
    if cleaned is not None:
        assert is_visible(cleaned)
        assert clean_name(cleaned) == cleaned
        assert "  " not in cleaned
        assert cleaned == cleaned.strip()
        if len(cleaned) <= MAX_ROOM_NAME:
            assert usable_room_name(cleaned) == cleaned
    assert clean_name(cleaned or "") == cleaned


@given(st.text(st.characters(max_codepoint=0x2100), min_size=1, max_size=30))
@settings(max_examples=500, deadline=None)
def test_without_emoji_the_rule_is_that_of_the_profile(text: str) -> None:
    try:
        expected = PROFILE.enforce(text)
    except UnicodeEncodeError:
        expected = None
    if not any(code in text for code in "\u203c\u2049\u20e3"):
        try:
            assert usable_room_name(text) == expected
        except Malformed:
            assert expected is None or not is_visible(expected)


def test_a_rule_about_the_whole_text_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(text: str, place: int, data: UnicodeData) -> str:
        asked.append(place)
        return context_rule_error(text, place, data)

    monkeypatch.setattr(names, "context_rule_error", counted)
    for sign, end in (("\u30fb", "ア"), ("\u0660", ""), ("\u06f0", "")):
        usable_topic(sign * (MAX_TOPIC - 1) + end)
    assert asked == [0, 0, 0]
