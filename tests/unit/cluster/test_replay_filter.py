"""Which messages of the bus count: signed, new, of this time and of the log that is served."""

import hmac
import logging
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cluster import replay_filter
from service.cluster.envelope import Envelope, Message
from service.cluster.replay_filter import LOG_EVERY, MAX_SKEW, ReplayFilter

KEY = b"k" * 32
SECOND = 1_000_000
START = 1_800_000_000 * SECOND
EPOCH, RESTORED = str(UUID(int=1)), str(UUID(int=2))
CHANNEL = "nodes"


class World:
    """The database's time and the log's epoch."""

    def __init__(self) -> None:
        self.now = START

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class Node:
    """A node's envelope and filter; `off` is how far its copy of the database's time is wrong, in seconds."""

    def __init__(self, world: World, off: float = 0, epoch: str = EPOCH, key: bytes = KEY) -> None:
        self.epoch = epoch
        self.off = off
        self.doubts = 0
        self.envelope = Envelope(key, uuid4(), lambda: self.epoch, lambda: world.now + int(self.off * SECOND))
        self.filter = ReplayFilter(self.envelope, self._doubt)
        assert self.envelope.epoch
        world.pass_time(0.001)

    def say(self, words: str, channel: str = CHANNEL) -> bytes:
        return self.envelope.seal(channel, Message("word", words.encode()))

    def hears(self, sealed: bytes, channel: str = CHANNEL) -> str | None:
        """Return the words that a message brings, None where it is refused."""
        opened = self.filter.open(channel, sealed)
        message = self.filter.decode(channel, opened) if opened is not None else None
        return message.payload.decode() if message is not None else None

    def _doubt(self) -> None:
        self.doubts += 1


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_counts_once(world: World) -> None:
    one, other, third = Node(world), Node(world), Node(world)
    recorded = [one.say(f"{number}") for number in range(3)]
    assert [other.hears(sealed) for sealed in recorded] == ["0", "1", "2"]
    assert [other.hears(sealed) for sealed in recorded * 5] == [None] * 15
    assert other.filter.refused == {"replayed": 15}
    assert [third.hears(sealed) for sealed in recorded] == ["0", "1", "2"], "each receiver counts for itself"


def test_messages_that_were_lost_are_no_obstacle_and_cannot_come_later(world: World) -> None:
    one, other = Node(world), Node(world)
    lost, heard = one.say("lost"), one.say("heard")
    assert other.hears(heard) == "heard"
    assert other.hears(lost) is None
    assert other.hears(one.say("next")) == "next"


def test_one_counter_covers_all_channels(world: World) -> None:
    one, other = Node(world), Node(world)
    missed = one.say("to a room that is not followed yet", "room:a")
    assert other.hears(one.say("to all")) == "to all"
    assert other.hears(missed, "room:a") is None
    assert other.filter.refused == {"replayed": 1}


def test_a_receiver_that_begins_takes_nothing_that_was_sent_before(world: World) -> None:
    dead, living = Node(world), Node(world)
    recorded = [dead.say("1"), living.say("2")]
    receiver = Node(world)
    assert [receiver.hears(sealed) for sealed in recorded] == [None, None]
    assert receiver.hears(living.say("3")) == "3"
    assert receiver.filter.refused == {"replayed": 2}


def test_a_node_that_begins_again_is_heard_at_once(world: World) -> None:
    first, other = Node(world), Node(world)
    for number in range(10):
        assert other.hears(first.say(f"{number}")) == f"{number}"
    second = Node(world)
    assert other.hears(second.say("again")) == "again"
    assert other.hears(first.say("its last")) == "its last"


def test_replay_memory_is_bounded_and_evicted_messages_are_rejected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_filter, "MAX_ORIGINS", 3)
    receiver = Node(world)
    recorded: list[bytes] = []
    node = Node(world)
    for life in range(20):
        node = Node(world)
        recorded.append(node.say(f"{life}"))
        assert receiver.hears(recorded[-1]) == f"{life}"
        assert len(receiver.filter._origins) <= 3
        assert [receiver.hears(sealed) for sealed in recorded] == [None] * len(recorded)
    assert receiver.hears(node.say("the last lives")) == "the last lives"


@pytest.mark.parametrize("off", [-20, 20])
def test_times_that_differ_by_seconds_do_no_harm(world: World, off: float) -> None:
    one, other = Node(world, off), Node(world)
    world.pass_time(25)
    for number in range(3):
        assert other.hears(one.say(f"{number}")) == f"{number}"
        assert one.hears(other.say(f"{number}")) == f"{number}"
        world.pass_time(1)


@pytest.mark.parametrize("off", [-40, 40])
def test_times_that_differ_by_more_are_doubted_and_set_right(world: World, off: float) -> None:
    one, other = Node(world), Node(world)
    assert other.hears(one.say("before")) == "before"
    one.off = off
    assert other.hears(one.say("lost")) is None
    assert one.hears(other.say("lost")) is None
    assert (one.doubts, other.doubts) == (1, 1), "it may be either's mistake"
    one.off = 0
    assert other.hears(one.say("after")) == "after"
    assert one.hears(other.say("after")) == "after"
    assert other.filter.refused == {"untimely": 1}


def test_a_message_that_is_held_back_for_long_does_not_count(world: World) -> None:
    one, other = Node(world), Node(world)
    held = [one.say("0"), one.say("1")]
    world.pass_time(MAX_SKEW / SECOND)
    assert other.hears(held[0]) == "0"
    world.pass_time(0.1)
    assert other.hears(held[1]) is None
    assert other.filter.refused == {"untimely": 1}


def test_long_outage_accepts_new_and_rejects_old_messages(world: World) -> None:
    one, other = Node(world), Node(world)
    recorded = [one.say("before")]
    assert other.hears(recorded[0]) == "before"
    recorded.append(one.say("lost in the outage"))
    world.pass_time(600)
    assert [other.hears(sealed) for sealed in recorded] == [None, None]
    assert other.hears(one.say("after")) == "after"


def test_a_message_of_another_epoch_is_refused(world: World) -> None:
    one, other = Node(world), Node(world, epoch=RESTORED)
    assert other.hears(one.say("of the log before the restore")) is None
    assert other.filter.refused == {"epoch": 1}


def test_the_epoch_is_compared_when_a_message_is_taken(world: World) -> None:
    one, other = Node(world), Node(world)
    opened = other.filter.open(CHANNEL, one.say("waits"))
    assert opened is not None
    other.epoch = RESTORED
    assert other.filter.decode(CHANNEL, opened) is None
    assert other.filter.refused == {"epoch": 1}


def test_nodes_that_change_over_to_a_restored_log_hear_each_other_in_it(world: World) -> None:
    one, other = Node(world), Node(world)
    before = one.say("before")
    assert other.hears(before) == "before"
    one.epoch = RESTORED
    early = one.say("of the restored log")
    assert other.hears(early) is None
    world.pass_time(1)
    other.epoch = RESTORED
    assert [other.hears(sealed) for sealed in (before, early)] == [None, None]
    world.pass_time(1)
    assert other.hears(one.say("after")) == "after"
    assert one.hears(other.say("after")) == "after"


def test_a_restored_log_on_a_machine_with_another_time_is_heard_in(world: World) -> None:
    one, other = Node(world), Node(world)
    assert other.hears(one.say("before")) == "before"
    for node in (one, other):
        node.epoch = RESTORED
        node.off = -3600
        assert node.envelope.epoch
    world.pass_time(1)
    newcomer = Node(world, -3600, RESTORED)
    for node in (one, newcomer):
        assert other.hears(node.say("after")) == "after"


def test_before_the_log_is_known_a_node_hears_itself_alone(world: World) -> None:
    one, other = Node(world), Node(world, epoch="")
    assert other.hears(one.say("not yet")) is None
    assert other.filter.refused == {"epoch": 1}
    own = other.filter.open(CHANNEL, other.say("probe"))
    assert own is not None
    assert other.envelope.is_own(own)
    unready = Node(world, epoch="")
    assert other.hears(unready.say("neither knows it")) is None
    other.epoch = EPOCH
    assert other.envelope.epoch
    world.pass_time(1)
    assert other.hears(one.say("now")) == "now"


def test_own_messages_are_known_by_their_signature_and_count_once(world: World) -> None:
    one = Node(world)
    probe = one.say("probe")
    assert one.filter.open(CHANNEL, probe) is not None
    assert one.filter.open(CHANNEL, probe) is None
    assert one.filter.refused == {"replayed": 1}
    later = bytearray(one.say("probe"))
    later[-1] ^= 1  # its origin is this node's still
    assert one.filter.open(CHANNEL, bytes(later)) is None
    assert one.filter.refused == {"replayed": 1, "forged": 1}
    assert one.filter.received == 2, "own messages are not counted"


def of_first_version(channel: str, body: bytes, key: bytes = KEY) -> bytes:
    """Seal as nodes did before messages had a version: origin, proof, body."""
    origin = uuid4().bytes
    return origin + hmac.digest(key, b"\0".join((origin, channel.encode(), body)), "sha256") + body


def of_later_version(channel: str, rest: bytes, key: bytes = KEY) -> bytes:
    """Seal as a later version may: another first byte, the proof at its place, and a head that is not known."""
    return b"\3" + hmac.digest(key, b"\3" + channel.encode() + b"\0" + rest, "sha256") + rest


@pytest.mark.parametrize("seal", [of_first_version, of_later_version])
def test_a_message_of_another_version_is_told_from_a_forged_one(world: World, seal: Any) -> None:
    node = Node(world)
    body = msgspec.msgpack.encode(("word", b"x"))
    for _ in range(300):  # of which some begin with this version's first byte
        assert node.hears(seal(CHANNEL, body)) is None
    assert node.filter.refused == {"version": 300}
    assert node.hears(seal("room:a", body)) is None
    assert node.hears(seal(CHANNEL, body, b"x" * 32)) is None
    assert node.filter.refused == {"version": 300, "forged": 2}


@given(st.binary(max_size=200), st.integers(0, 255))
def test_no_bytes_without_a_signature_are_taken(data: bytes, first: int) -> None:
    node = Node(World())
    for sealed in (data, bytes([first]) + data):
        assert node.hears(sealed) is None
    assert node.filter.refused == {"forged": 2}


@given(st.data())
def test_any_order_of_any_recordings_counts_each_message_at_most_once(data: st.DataObject) -> None:
    world = World()
    nodes = [Node(world) for _ in range(3)]
    receiver = Node(world)
    recorded: list[bytes] = []
    heard: list[str] = []
    for step in range(data.draw(st.integers(1, 30))):
        if data.draw(st.booleans()) or not recorded:
            recorded.append(data.draw(st.sampled_from(nodes)).say(f"{step}"))
        else:
            words = receiver.hears(data.draw(st.sampled_from(recorded)))
            heard += [words] if words is not None else []
        world.pass_time(data.draw(st.sampled_from([0.0, 0.001, 1.0])))
    assert len(set(heard)) == len(heard)


def test_a_flood_of_refused_messages_fills_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    one, other = Node(world), Node(world)
    recorded = one.say("once")
    other.hears(recorded)
    for _ in range(1_000):
        other.hears(recorded)
        other.hears(b"garbage")
    assert [record.msg for record in caplog.records] == ["bus_message_refused", "bus_message_ignored"]
    assert other.filter.refused == {"replayed": 1_000, "forged": 1_000}
    world.pass_time(LOG_EVERY / SECOND)
    other.hears(recorded)
    assert len(caplog.records) == 3
