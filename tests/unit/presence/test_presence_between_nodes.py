"""Presence over several nodes and a bus that loses, repeats and reorders: in the end all agree with the truth."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.presence.gossip import STEP
from service.presence.remote import LAPSE
from service.presence.roster import Change
from tests.support.presence.nodes import GRACE, USERS, Node, World
from tests.support.quick import examples

QUIET = 3 * (LAPSE + GRACE)
"""Seconds after which everything that was going to happen has."""


class Order:
    """Checks the order of each user's changes: a user who returns had left, a user who leaves was there."""

    def __init__(self) -> None:
        self.checked = 0
        self.shown: dict[str, str] = {}
        self.left: set[str] = set()

    def check(self, changes: list[Change]) -> None:
        """Check what was appended since the last call."""
        for change in changes[self.checked :]:
            assert change.before == self.shown.get(change.user, "offline")
            assert change.before != change.status
            assert change.returns == (change.before == "offline" and change.user in self.left)
            (self.left.add if change.status == "offline" else self.left.discard)(change.user)
            self.shown[change.user] = change.status
        self.checked = len(changes)


class Chaos(RuleBasedStateMachine):
    """Anything happens in any order; then it gets quiet, and all has to be right."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(3)
        self.frozen: dict[str, int] = {}
        self.orders: defaultdict[str, Order] = defaultdict(Order)

    def teardown(self) -> None:
        for node in self.world.nodes:
            self.hear_again(node)
        self.world.pass_time(QUIET, deliver=True)
        self.world.agree()

    @rule(index=st.integers(0, 2), user=st.sampled_from(USERS))
    def arrive(self, index: int, user: str) -> None:
        self.world.arrive(self.world.nodes[index], user)

    @rule(index=st.integers(0, 2), which=st.integers(0, 5))
    def depart(self, index: int, which: int) -> None:
        node = self.world.nodes[index]
        if node.connections:
            self.world.depart(node, which % len(node.connections))

    @precondition(lambda self: self.world.on_the_way)
    @rule(data=st.data(), fate=st.sampled_from(["delivered", "delivered", "delivered", "repeated", "lost"]))
    def news(self, data: st.DataObject, fate: str) -> None:
        index = data.draw(st.integers(0, len(self.world.on_the_way) - 1))
        if fate == "lost":
            self.world.on_the_way.pop(index)
        else:
            self.world.deliver(index, again=fate == "repeated")

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 5.0, 12.0]), deliver=st.booleans())
    def time_passes(self, seconds: float, *, deliver: bool) -> None:
        self.world.pass_time(seconds, deliver=deliver)

    @rule(index=st.integers(0, 2), goodbye=st.booleans())
    def restart(self, index: int, *, goodbye: bool) -> None:
        """A node ends, in order or not; another life begins in its place, and its clients are gone."""
        node = self.world.nodes[index]
        if goodbye:
            self.world.send(node, [node.gossip.leave()])
        self.world.nodes[index] = self.world.start()

    @rule(index=st.integers(0, 2))
    def outage(self, index: int) -> None:
        self.world.nodes[index].connected = False

    @rule(index=st.integers(0, 2))
    def outage_ends(self, index: int) -> None:
        self.hear_again(self.world.nodes[index])

    @rule(index=st.integers(0, 2))
    def stand_still(self, index: int) -> None:
        """A node is stopped for long while the others go on, and finds itself fenced."""
        node = self.world.nodes.pop(index)
        self.world.pass_time(LAPSE + GRACE, deliver=True)
        self.world.nodes.insert(index, node)
        node.gossip.fenced(self.world.when)
        node.connections.clear()

    def hear_again(self, node: Node) -> None:
        if not node.connected:
            node.connected = True
            node.gossip.renew(self.world.now)

    @invariant()
    def no_lease_lapses_during_an_outage(self) -> None:
        for node in self.world.nodes:
            gone = sum(change.status == "offline" for change in node.shown)
            if node.connected:
                self.frozen.pop(node.name, None)
            else:
                assert gone == self.frozen.setdefault(node.name, gone)

    @invariant()
    def everybody_is_told_in_an_order_that_makes_sense(self) -> None:
        for node in self.world.nodes:
            self.orders[node.name].check(node.shown)


Chaos.TestCase.settings = settings(max_examples=examples(400), stateful_step_count=50, deadline=None)
TestChaos = Chaos.TestCase


class Prompt(RuleBasedStateMachine):
    """On a healthy bus: no user is shown as offline before the grace period ends, and then once on every node."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(2)
        self.world.pass_time(2, deliver=True)
        self.seen: dict[str, int] = {}

    def teardown(self) -> None:
        self.world.pass_time(QUIET, deliver=True)
        self.world.agree()
        for node in self.world.nodes:
            Order().check(node.shown)

    @rule(index=st.integers(0, 1), user=st.sampled_from(USERS))
    def arrive(self, index: int, user: str) -> None:
        self.world.arrive(self.world.nodes[index], user)

    @rule(index=st.integers(0, 1), which=st.integers(0, 5))
    def depart(self, index: int, which: int) -> None:
        node = self.world.nodes[index]
        if node.connections:
            self.world.depart(node, which % len(node.connections))

    @rule(seconds=st.sampled_from([0.1, 1.0, GRACE - 1.0, GRACE - 0.3, GRACE, GRACE + 2]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.world.pass_time(STEP, deliver=True)
            for node in self.world.nodes:
                for change in node.shown[self.seen.get(node.name, 0) :]:
                    self.check(change)
                self.seen[node.name] = len(node.shown)

    def check(self, change: Change) -> None:
        if change.status == "offline":
            if self.world.now - self.world.back_at.get(change.user, 0) <= 2 * STEP:
                return  # who comes back in the very last instant, if only to go again, may do so before the others know
            assert change.user not in self.world.present()
            assert self.world.now - self.world.left_at[change.user] >= GRACE - STEP
            assert change.seen == int(self.world.left_at[change.user] * 1000)


Prompt.TestCase.settings = settings(max_examples=examples(400), stateful_step_count=50, deadline=None)
TestPrompt = Prompt.TestCase
