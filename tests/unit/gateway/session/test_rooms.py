"""Rooms that others added a user to never use up the user's own, and their number is bounded."""

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rpds import HashTrieMap

from service.domain.room_state import Member, RoomState
from service.errors import TooManyRooms
from service.gateway.session.rooms import RoomLimits, SubscribedRooms, was_added

ROOMS = [f"r{number}" for number in range(8)]
STEPS = st.lists(
    st.tuples(st.sampled_from(["choose", "add", "use", "leave"]), st.sampled_from(ROOMS)), max_size=60
)


@given(STEPS)
def test_any_sequence_keeps_both_limits_and_evicts_the_least_recently_used(
    steps: list[tuple[str, str]],
) -> None:
    rooms = SubscribedRooms(RoomLimits(chosen=3, added=2))
    chosen: set[str] = set()
    added: OrderedDict[str, None] = OrderedDict()
    for step, room in steps:
        if step == "choose" and room not in chosen and room not in added and len(chosen) == 3:
            with pytest.raises(TooManyRooms):
                rooms.check(room)
        elif step == "choose":
            rooms.check(room)
            assert rooms.add(room, added=False) is None
            if room not in added:
                chosen.add(room)
        elif step == "add":
            evicted = rooms.add(room, added=True)
            if room not in chosen:
                added.setdefault(room)
            assert evicted == (next(iter(added)) if len(added) > 2 else None)
            if evicted is not None:
                rooms.discard(evicted)
                del added[evicted]
        elif step == "use":
            rooms.use(room)
            if room in added:
                added.move_to_end(room)
        else:
            rooms.discard(room)
            chosen.discard(room)
            added.pop(room, None)
        assert sorted(rooms) == sorted([*chosen, *added])
        assert all(each in rooms for each in [*chosen, *added])


def test_a_member_was_added_if_somebody_else_is_the_author_of_the_join() -> None:
    members = HashTrieMap({"alice": Member("owner", 2), "bob": Member("member", 3, added=True)})
    state = RoomState("general", 3, members=members)
    assert [was_added(state, user) for user in ("alice", "bob", "carol")] == [False, True, False]
    assert not was_added(None, "bob")
