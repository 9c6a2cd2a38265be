"""Rooms without subscribers stay in memory within two bounds, and what a room takes is about what is counted."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.room_state import RoomState
from service.realtime.room_feed import RoomFeed
from service.realtime.room_memory import IDLE_BYTES, MAX_IDLE_FEEDS, RING_BYTES, IdleRooms, RingMemory


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["add", "remove", "use"]), st.integers(1, 60)),
        max_size=80,
    )
)
def test_all_idle_rooms_together_stay_within_their_limit(steps: list[tuple[int, str, int]]) -> None:
    sizes: dict[str, int] = {}
    idle = IdleRooms(sizes.__delitem__)
    for number, step, share in steps:
        room, size = f"room{number}", share * IDLE_BYTES // 50
        match step:
            case "add":
                sizes[room] = size
                idle.add(room, size)
            case "remove":
                sizes.pop(room, None)
                idle.remove(room)
            case _:
                idle.use(room)
        assert all(room in idle for room in sizes)
        assert idle.held == sum(sizes.values())
        assert idle.held <= IDLE_BYTES or len(sizes) == 1


def test_the_least_recently_used_go_first() -> None:
    evicted: list[str] = []
    idle = IdleRooms(evicted.append)
    for room in ("first", "second", "third"):
        idle.add(room, IDLE_BYTES // 3)
    idle.use("first")
    idle.add("fourth", IDLE_BYTES // 2)
    assert evicted == ["second", "third"]
    for number in range(MAX_IDLE_FEEDS):
        idle.add(f"small {number}", 1)
    assert evicted == ["second", "third", "first", "fourth"]


def test_a_room_of_any_size_stays_while_it_is_the_last_used() -> None:
    """Its caller has just loaded it."""
    evicted: list[str] = []
    idle = IdleRooms(evicted.append)
    idle.add("small", 1)
    idle.add("large", 10 * IDLE_BYTES)
    assert evicted == ["small"]
    idle.add("small", 1)
    assert evicted == ["small", "large"]
    assert idle.held == 1


TAKEN = """
import gc, resource, sys
from pathlib import Path
from rpds import HashTrieMap
from service.domain.room_state import Member, RoomState
from service.realtime.room_memory import RingMemory
from service.realtime.room_feed import RoomFeed

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

length, before, feeds = int(sys.argv[1]), resident(), []
for room in range(8):
    members = HashTrieMap()
    for number in range(10_000):
        members = members.insert(f"{number:05d}" + "u" * (length - 5), Member("member", number))
    feeds.append(RoomFeed(RoomState(f"room{room}", members=members), RingMemory(0)))
print(resident() - before, sum(feed.memory for feed in feeds))
"""


@pytest.mark.parametrize("length", [10, 128])
def test_what_is_counted_is_about_what_a_large_room_takes(length: int) -> None:
    """In a process of its own: the maps are of Rust, so that only the system knows what they take."""
    command = [sys.executable, "-c", TAKEN, str(length)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    held, counted = map(int, found.stdout.split())
    assert held / 3 < counted < 4 * held


def test_names_and_topics_are_counted() -> None:
    small = RoomFeed(RoomState("general"), RingMemory(RING_BYTES))
    large = RoomFeed(RoomState("general", name="x" * 200, topic="x" * 1_000), RingMemory(RING_BYTES))
    assert large.memory - small.memory >= 1_200
