"""Which key words are sealed with, and which days are over."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.commands import DeleteMessage, EditMessage, PostMessage, RemoveMember, UpdateRoom
from service.domain.retention import last_expired_day, scope_of
from service.domain.room_state import RoomState

AT = datetime(2026, 11, 27, 23, 59, 59, 999_999, tzinfo=UTC)
POST = PostMessage(room="general", content="x", ref="r")
EDIT = EditMessage(room="general", message=3, content="x")
KEPT, PASSING = RoomState("general", head=2), RoomState("general", head=3, retention=30)


@pytest.mark.parametrize("command", [POST, EDIT])
def test_what_is_said_in_a_room_with_a_rule_is_sealed_by_the_day(command: PostMessage | EditMessage) -> None:
    assert scope_of(PASSING, command, AT) == "general/2026-11-27"
    assert scope_of(PASSING, command, AT + timedelta(microseconds=1)) == "general/2026-11-28"
    assert scope_of(KEPT, command, AT) == ""


def test_topics_and_reasons_are_kept_in_every_room() -> None:
    for command in (
        UpdateRoom(room="general", topic="x"),
        DeleteMessage(room="general", message=3, reason="x"),
        RemoveMember(room="general", user="bob", reason="x"),
    ):
        assert scope_of(PASSING, command, AT) == ""


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.integers(1, 5000))  # noqa: DTZ001 - UTC below
def test_a_day_is_over_once_its_last_moment_is(at: datetime, days: int) -> None:
    now = at.replace(tzinfo=UTC)
    last = last_expired_day(now, days)
    midnight = datetime.combine(last + timedelta(days=1), datetime.min.time(), UTC)
    assert now - midnight >= timedelta(days=days)
    assert now - midnight < timedelta(days=days + 1)
    assert isinstance(last, date)
