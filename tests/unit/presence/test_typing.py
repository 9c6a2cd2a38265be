"""Who is typing, over two nodes and a clock of the test's own."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from service.presence import typing
from service.presence.typing import AGAIN, ELSEWHERE, START, STOP, TYPING, Typing

Notices = list[tuple[str, str, str]]


class Node:
    """A node's bus and hub, as far as typing needs them.

    `broadcasts` is what subscribers were sent: kind, room, user; `published` is what other nodes were sent.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.broadcasts: Notices = []
        self.published: list[str] = []
        self.others: list[Node] = []
        self.deaf = False
        self.seen = 7
        self.silenced: set[str] = set()
        self.typing = Typing(cast("Any", self), cast("Any", self), name, clock)
        self.takers = {START: self.typing.started_elsewhere, STOP: self.typing.stopped_elsewhere}

    def publish_to_room(self, room: str, kind: str, payload: bytes) -> None:
        self.published.append(kind)
        for other in self.others:
            if not other.deaf:
                other.takers[kind](room, payload)

    def head(self, room: str) -> int:
        assert room == "a"
        return 7

    def may_post(self, _room: str, user: str, seen: int = 0) -> bool:
        return seen > self.seen or user not in self.silenced

    def is_pair(self, room: str, one: str, other: str) -> bool:
        return (room, {one, other}) == ("a", {"alice", "bob"})

    def broadcast(self, room: str, outgoing: Any, *, but: str, seen: int) -> None:
        assert seen in (0, 7), "0 for what comes from this node"
        assert but == outgoing.user_id, "the typist receives nothing"
        self.broadcasts.append((outgoing.__struct_config__.tag, room, outgoing.user_id))


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.one, self.other = Node("one", self.clock), Node("other", self.clock)
        self.one.others, self.other.others = [self.other], [self.one]

    def clock(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for node in (self.one, self.other):
            node.typing.expire()

    def broadcasts(self) -> tuple[list[str], list[str]]:
        """Return what was broadcast on each node since the last call, which has to be about alice in one room."""
        for node in (self.one, self.other):
            assert {(room, user) for _, room, user in node.broadcasts} <= {("a", "alice")}
        answer = tuple(
            [kind.split(":")[1] for kind, _, _ in node.broadcasts] for node in (self.one, self.other)
        )
        self.one.broadcasts, self.other.broadcasts = [], []
        return cast("tuple[list[str], list[str]]", answer)


@pytest.fixture
def world() -> World:
    return World()


def test_a_start_and_a_stop_are_broadcast_on_every_node(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    assert world.broadcasts() == (["start"], ["start"])
    world.one.typing.stop("a", "alice", "phone")
    assert world.broadcasts() == (["stop"], ["stop"])
    world.one.typing.stop("a", "alice", "phone")
    assert world.broadcasts() == ([], [])


def test_it_stops_by_itself(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.pass_time(TYPING - 0.1)
    assert world.broadcasts() == (["start"], ["start"])
    world.pass_time(0.1)
    assert world.broadcasts() == (["stop"], ["stop"])


def test_repeated_typing_start_is_throttled_and_extends_the_timeout(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.pass_time(AGAIN - 0.1)
    world.one.typing.start("a", "alice", "phone")
    assert world.broadcasts() == (["start"], ["start"])
    assert world.one.published == [START], "nor are the other nodes notified again"
    world.pass_time(TYPING - 0.1)
    assert world.broadcasts() == ([], []), "the second start was not sent, and still renews the typing"
    world.one.typing.start("a", "alice", "phone")
    assert world.broadcasts() == (["start"], ["start"])
    world.pass_time(TYPING)
    assert world.broadcasts() == (["stop"], ["stop"])


def test_whoever_types_at_two_devices_stops_with_the_second(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.other.typing.start("a", "alice", "desk")
    assert world.broadcasts() == (["start"], ["start"]), "once, however many devices"
    world.one.typing.stop("a", "alice", "phone")
    assert world.broadcasts() == ([], [])
    world.other.typing.stop("a", "alice", "desk")
    assert world.broadcasts() == (["stop"], ["stop"])


def test_who_goes_on_at_one_device_types_on_when_they_stop_at_the_other(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.other.typing.start("a", "alice", "desk")
    world.one.typing.stop("a", "alice", "phone")
    world.one.typing.start("a", "alice", "phone")  # soon after the first, which the other node has forgotten
    world.broadcasts()
    world.other.typing.stop("a", "alice", "desk")
    assert world.broadcasts() == ([], [])
    world.one.typing.stop("a", "alice", "phone")
    assert world.broadcasts() == (["stop"], ["stop"])


@pytest.mark.parametrize("speaker", ["one", "other"])
def test_posting_the_message_stops_typing_everywhere(world: World, speaker: str) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.broadcasts()
    getattr(world, speaker).typing.clear("a", "alice")
    assert world.broadcasts() == (["stop"], ["stop"])
    world.pass_time(ELSEWHERE)
    assert world.broadcasts() == ([], [])
    assert not world.one.typing._by_connection


def test_a_connection_that_ends_stops_its_typing(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.one.typing.start("a", "alice", "desk")
    world.broadcasts()
    world.one.typing.gone("phone")
    assert world.broadcasts() == ([], [])
    world.one.typing.gone("desk")
    assert world.broadcasts() == (["stop"], ["stop"])
    assert not world.one.typing._by_connection
    assert not world.one.typing._typists


def test_a_stop_that_was_lost_is_made_good_by_time(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.other.deaf = True
    world.one.typing.stop("a", "alice", "phone")
    assert world.broadcasts() == (["start", "stop"], ["start"])
    world.pass_time(ELSEWHERE)
    assert world.broadcasts() == ([], ["stop"])


def test_above_the_bound_further_starts_are_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typing, "MOST_TYPING", 0)
    world.one.typing.start("a", "alice", "phone")
    world.one.typing.gone("phone")
    assert world.broadcasts() == ([], [])


@pytest.mark.parametrize("user", ["alice", None], ids=["the user", "all users"])
def test_who_may_post_no_more_stops_on_each_node_without_the_bus(world: World, user: str | None) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.other.typing.start("a", "alice", "desk")
    world.broadcasts()
    published = len(world.one.published)
    world.one.typing.silence("a", user)
    assert world.broadcasts() == (["stop"], [])
    world.other.typing.silence("a", user)
    assert world.broadcasts() == ([], ["stop"])
    assert len(world.one.published) == published
    world.pass_time(ELSEWHERE)
    assert world.broadcasts() == ([], [])
    assert not world.one.typing._by_connection


def test_silencing_one_user_leaves_the_others_and_other_rooms(world: World) -> None:
    for user in ("alice", "bob"):
        world.one.typing.start("a", user, user)
    world.one.broadcasts.clear()
    world.one.typing.silence("a", "carol")
    world.one.typing.silence("b", None)
    assert world.one.broadcasts == []
    world.one.typing.silence("a", "bob")
    assert world.one.broadcasts == [("typing:stop", "a", "bob")]
    assert world.one.typing.is_typing("a", "alice")


def test_a_start_of_who_may_not_post_is_dropped(world: World) -> None:
    world.one.silenced = {"alice"}
    world.one.typing.start("a", "alice", "phone")
    assert world.broadcasts() == ([], [])
    world.other.silenced = {"alice"}
    world.one.silenced.clear()
    world.one.typing.start("a", "alice", "phone")  # the other node knows of the mute, this one does not yet
    assert world.broadcasts() == (["start"], [])


def test_a_start_of_a_node_that_is_ahead_is_not_judged_by_an_old_state(world: World) -> None:
    world.other.seen = 6
    world.other.silenced = {"alice"}  # unmuted or joined by an event that this node does not have yet
    world.one.typing.start("a", "alice", "phone")
    assert world.broadcasts() == (["start"], ["start"])


def test_a_block_hides_typing_in_the_direct_room_of_both(world: World) -> None:
    world.one.typing.start("a", "alice", "phone")
    world.broadcasts()
    world.other.typing.hide("alice", "carol")
    assert world.broadcasts() == ([], [])
    world.other.typing.hide("alice", "bob")
    assert world.broadcasts() == (["stop"], ["stop"])
