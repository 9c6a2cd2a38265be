"""What was written to a session: a union of ranges, in any order of arrival."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.session import delivered
from service.gateway.session.delivered import DeliveredRanges

ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair))))


@given(ranges)
def test_the_ranges_hold_what_was_added_and_nothing_else(added: list[tuple[int, int]]) -> None:
    room_ranges = DeliveredRanges()
    for first, last in added:
        room_ranges.add("general", first, last)
    kept = (room_ranges.ranges() or {}).get("general", ())
    numbers = {seq for first, last in added for seq in range(first, last + 1)}
    assert {seq for first, last in kept for seq in range(first, last + 1)} == numbers
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(kept))
    assert room_ranges._count == len(kept)


def test_rooms_stand_by_themselves() -> None:
    room_ranges = DeliveredRanges()
    room_ranges.add("b", 1, 3)
    room_ranges.add("a", 4, 4)
    room_ranges.add("b", 7, 9)
    assert room_ranges.ranges() == {"a": ((4, 4),), "b": ((1, 3), (7, 9))}


def test_too_many_ranges_are_unknown_rather_than_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivered, "MAX_RANGES", 3)
    room_ranges = DeliveredRanges()
    for seq in (1, 3, 5):
        room_ranges.add("general", seq, seq)
    assert room_ranges.ranges() == {"general": ((1, 1), (3, 3), (5, 5))}
    room_ranges.add("general", 7, 7)
    room_ranges.add("general", 1, 100)
    assert room_ranges.ranges() is None
