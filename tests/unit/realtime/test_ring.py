"""What rings hold is counted in memory, encoded frames included, and all rings of a node have one limit."""

import gc
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.events import MessagePosted, Recorded, RoomTopicChanged
from service.protocol.native import encode
from service.realtime.encoded_event import EncodedEvent
from service.realtime.room_memory import RING, RING_BYTES, RING_SIZE, Ring, RingMemory

FORMATS = ("native", "packet", "frame")


def message(seq: int, content: str = "hello", mentions: tuple[str, ...] = ()) -> EncodedEvent:
    event = MessagePosted(author="alice", content=content, ref="r" * 36, mentions=mentions)
    recorded = Recorded("room:general", seq, seq, f"message:{seq}", datetime.now(UTC), "alice", event)
    return EncodedEvent(recorded, str.title, {name: lambda event: encode(event) + b" " for name in FORMATS})


def encode_all(item: EncodedEvent) -> None:
    for wire_format in FORMATS:
        for user in ("alice", "bob"):
            item.frame(wire_format, user)


CONTENTS = {
    "short": lambda seq: message(seq, f"hello {seq}"),
    "long": lambda seq: message(seq, f"{seq}" + "x" * 10_000),
    "wide": lambda seq: message(seq, f"{seq}" + "\u6f22" * 10_000),
    "escaped": lambda seq: message(seq, f"{seq}" + '"' * 10_000),
    "mentions": lambda seq: message(
        seq, "hi", tuple(f"{seq}-{number}-" + "u" * 118 for number in range(100))
    ),
}


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("kind", CONTENTS)
def test_the_memory_that_is_counted_is_about_what_is_held(kind: str, *, encoded: bool) -> None:
    ring = Ring(RingMemory(RING_BYTES))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for seq in range(40):
        ring.append(CONTENTS[kind](seq))
        if encoded:
            encode_all(ring.items[-1])
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(ring.items) > 1
    assert held / 2 < ring.size <= RING_SIZE
    assert ring.size < 4 * held


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["add", "long", "encode", "clear", "close"])),
        max_size=60,
    )
)
def test_all_rings_together_stay_within_their_limit(steps: list[tuple[int, str]]) -> None:
    memory = RingMemory(2 * RING_SIZE)
    rings = [Ring(memory) for _ in range(5)]
    for seq, (number, step) in enumerate(steps):
        ring = rings[number]
        match step:
            case "add":
                ring.append(message(seq))
            case "long":
                ring.append(message(seq, "x" * 300_000))
            case "encode":
                for item in list(ring.items):
                    encode_all(item)
            case "clear":
                ring.clear()
            case _:
                ring.close()
        assert [one.size for one in rings] == [sum(item.memory for item in one.items) for one in rings]
        assert memory.held == sum(one.size for one in rings) <= 2 * RING_SIZE
        assert all(one.size <= RING_SIZE and len(one.items) <= RING for one in rings)


def test_the_ring_that_was_not_used_for_longest_is_emptied() -> None:
    memory = RingMemory(2 * RING_SIZE)
    rings = [Ring(memory) for _ in range(3)]
    for number, ring in enumerate([*rings[:2], rings[0], rings[2], rings[2]]):
        ring.append(message(number, "x" * 450_000))
    assert [bool(ring.items) for ring in rings] == [True, False, True]
    rings[1].append(message(9))
    assert rings[1].items, "an emptied ring is filled again"


def test_a_closed_ring_keeps_nothing_and_counts_nothing() -> None:
    memory = RingMemory(RING_BYTES)
    ring = Ring(memory)
    ring.append(item := message(1))
    ring.close()
    ring.append(message(2))
    assert not ring.prepend(message(0))
    encode_all(item)
    assert (memory.held, ring.size, list(ring.items)) == (0, 0, [])


def test_a_topic_counts_as_a_message_does() -> None:
    event = RoomTopicChanged(topic="x" * 1_000)
    recorded = Recorded("room:general", 1, 1, "settings", datetime.now(UTC), "alice", event)
    assert EncodedEvent(recorded, str, {}).memory > 2_000
