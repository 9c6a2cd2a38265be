"""What was written to a session: a union of ranges, in any order of arrival."""

from datetime import UTC, datetime
from itertools import pairwise
from unittest.mock import ANY, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.auth.tokens import Identity
from service.gateway.native.endpoint import NativeSession
from service.gateway.session import delivered
from service.gateway.session.delivered import DeliveredRanges
from service.gateway.session.rooms import RoomLimits
from service.protocol.close_codes import Close
from service.runtime.ranges import MAX_GAPS

ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair))))


@given(ranges)
def test_the_ranges_hold_what_was_added_and_nothing_else(added: list[tuple[int, int]]) -> None:
    room_ranges = DeliveredRanges()
    for first, last in added:
        room_ranges.add("general", first, last)
    kept = room_ranges.ranges().get("general", ())
    numbers = {seq for first, last in added for seq in range(first, last + 1)}
    assert {seq for first, last in kept for seq in range(first, last + 1)} == numbers
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(kept))
    assert room_ranges._gaps == max(0, len(kept) - 1)
    assert not room_ranges.at_least()


def test_rooms_stand_by_themselves() -> None:
    room_ranges = DeliveredRanges()
    room_ranges.add("b", 1, 3)
    room_ranges.add("a", 4, 4)
    room_ranges.add("b", 7, 9)
    assert room_ranges.ranges() == {"a": ((4, 4),), "b": ((1, 3), (7, 9))}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 60), st.integers(0, 3)), max_size=60))
def test_merged_ranges_cover_what_was_added(added: list[tuple[str, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivered, "MAX_GAPS", 3)
        room_ranges = DeliveredRanges()
        for room, first, more in added:
            room_ranges.add(room, first, first + more)
    kept = room_ranges.ranges()
    assert sum(len(in_room) - 1 for in_room in kept.values()) <= 3
    for room in kept:
        numbers = {
            seq for name, first, more in added if name == room for seq in range(first, first + more + 1)
        }
        covered = {seq for first, last in kept[room] for seq in range(first, last + 1)}
        assert numbers <= covered
        assert room_ranges.at_least().get(room, len(covered)) <= len(numbers)
        if room not in room_ranges.at_least():
            assert numbers == covered


def test_disjoint_pages_of_one_message_are_counted_and_never_forgotten() -> None:
    room_ranges = DeliveredRanges()
    room_ranges.add("quiet", 1, 1)
    room_ranges.add("quiet", 5, 5)
    for seq in range(1, 20_003, 2):
        room_ranges.add("general", seq, seq)
    kept = room_ranges.ranges()
    assert kept["quiet"] == ((1, 1), (5, 5))
    assert len(kept["general"]) <= MAX_GAPS + 1
    assert (kept["general"][0][0], kept["general"][-1][1]) == (1, 20_001)
    assert 5_000 < room_ranges.at_least()["general"] <= 10_001


def test_a_session_of_1000_rooms_ends_after_one_more() -> None:
    """Its record names each of them; the client connects again, and resumes."""
    transport = Mock(closing=False)
    session = NativeSession(
        transport, Mock(), Identity("alice", None, datetime.now(UTC)), RoomLimits(100, 100)
    )
    for number in range(1_000):
        session.wrote(f"room-{number}", 1, 2)
        session.wrote(f"room-{number}", 5, 5)
    transport.close.assert_not_called()
    session.wrote("one-more", 1, 1)
    transport.close.assert_called_once_with(Close.SHUTTING_DOWN, ANY)
    assert Close.SHUTTING_DOWN.come_back
    transport.closing = True
    session.wrote("yet-another", 1, 1)
    transport.close.assert_called_once()
