"""An event is formatted as one line for any content, and as the same line each time."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given

from service.audit.history.format import as_json, as_text
from service.domain.events import (
    Event,
    MemberBanned,
    MemberJoined,
    MessagePosted,
    Recorded,
    RoomArchived,
    RoomTopicChanged,
)
from tests.support.eventstore.strategies import events

AT = datetime(2026, 11, 24, 15, 0, 0, 5, tzinfo=UTC)


def recorded(event: Event, *, erased: bool = False) -> Recorded:
    return Recorded("room:general", 58, 213, "settings", AT, "alice", event, erased)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RoomArchived(), "room archived"),
        (MemberJoined(user="bob"), 'member joined: user="bob" role="member"'),
        (
            MessagePosted(author="alice", content='say "hé"', ref="r", mentions=("bob",), reply_to=7),
            'message posted: author="alice" content="say \\"hé\\"" reply_to=7 mentions=["bob"]',
        ),
        (
            MemberBanned(user="bob", until=AT, reason="a\nb\x1b[2J\u202e\x07"),
            r'member banned: user="bob" until="2026-11-24T15:00:00.000005Z" reason="a\nb\u001b[2J\u202e\u0007"',
        ),
    ],
)
def test_a_line_for_people_says_who_did_what_when(event: Event, line: str) -> None:
    assert as_text(recorded(event)).decode() == f"    58  2026-11-24T15:00:00.000005Z  alice  {line}\n"


def test_erased_words_are_marked_and_words_that_never_were_are_not() -> None:
    erased = recorded(MessagePosted(author="alice", content=None, ref="r"), erased=True)
    assert as_text(erased).endswith(b'author="alice" content=(erased)\n')
    assert json.loads(as_json(erased))["erased"] is True
    never = recorded(RoomTopicChanged(topic=None))
    assert as_text(never).endswith(b"room topic changed\n")
    assert "erased" not in json.loads(as_json(never))


def test_a_line_for_programs_has_its_place_and_its_fields_in_a_fixed_order() -> None:
    line = as_json(recorded(MemberJoined(user="bob")), stream=True)
    assert line == (
        b'{"seq":58,"position":213,"stream":"room:general","type":"MemberJoined","by":"alice",'
        b'"at":"2026-11-24T15:00:00.000005Z","user":"bob","role":"member"}\n'
    )
    assert b'"stream"' not in as_json(recorded(MemberJoined(user="bob")))


@given(events)
def test_every_event_is_one_line_of_either_form(event: Event) -> None:
    assert as_json(recorded(event)).count(b"\n") == as_text(recorded(event)).count(b"\n") == 1
    text = as_text(recorded(event)).decode().removesuffix("\n")
    assert text.isprintable()


@given(events)
def test_no_field_of_an_event_hides_its_place(event: Event) -> None:
    shown = json.loads(as_json(recorded(event), stream=True))
    place = {"seq": 58, "position": 213, "stream": "room:general", "by": "alice"}
    assert place.items() <= shown.items()
    assert shown["type"] == type(event).__name__
