"""What was written to a session: a union of ranges, in any order of arrival."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.session import delivered
from service.gateway.session.delivered import DeliveredRanges

stretches = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda one: (one[0], sum(one))))


@given(stretches)
def test_the_stretches_hold_what_was_added_and_nothing_else(added: list[tuple[int, int]]) -> None:
    one = DeliveredRanges()
    for first, last in added:
        one.add("general", first, last)
    kept = (one.ranges() or {}).get("general", ())
    numbers = {seq for first, last in added for seq in range(first, last + 1)}
    assert {seq for first, last in kept for seq in range(first, last + 1)} == numbers
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(kept))
    assert one._stretches == len(kept)


def test_rooms_stand_by_themselves() -> None:
    one = DeliveredRanges()
    one.add("b", 1, 3)
    one.add("a", 4, 4)
    one.add("b", 7, 9)
    assert one.ranges() == {"a": ((4, 4),), "b": ((1, 3), (7, 9))}


def test_too_many_stretches_are_unknown_rather_than_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivered, "MAX_STRETCHES", 3)
    one = DeliveredRanges()
    for seq in (1, 3, 5):
        one.add("general", seq, seq)
    assert one.ranges() == {"general": ((1, 1), (3, 3), (5, 5))}
    one.add("general", 7, 7)
    one.add("general", 1, 100)
    assert one.ranges() is None
