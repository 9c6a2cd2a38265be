"""Nodes that gossip presence over a bus that loses, delays and repeats messages."""

from dataclasses import dataclass, field

from service.presence.gossip import STEP, Gossip
from service.presence.roster import Change, Moment

GRACE = 4.0


USERS = ("alice", "bob", "carol")


@dataclass
class Node:
    """A node, and the changes that it sent to its users."""

    name: str
    gossip: Gossip
    connected: bool = True
    shown: list[Change] = field(default_factory=list)
    connections: list[tuple[str, str]] = field(default_factory=list)


class World:
    """Several nodes, a clock, and messages in transit to each."""

    def __init__(self, nodes: int) -> None:
        self.now = 1_000.0
        self.lives = 0
        self.on_the_way: list[tuple[Node, str, bytes]] = []
        self.nodes = [self.start() for _ in range(nodes)]
        self.left_at: dict[str, float] = {}
        self.back_at: dict[str, float] = {}

    @property
    def when(self) -> Moment:
        return Moment(self.now, int(self.now * 1000))

    def start(self) -> Node:
        self.lives += 1
        name = f"life-{self.lives}"
        return Node(name, Gossip(name, GRACE, self.when))

    def send(self, node: Node, messages: list[tuple[str, bytes]]) -> None:
        if node.connected:
            for other in self.nodes:
                if other is not node and other.connected:
                    self.on_the_way += [(other, kind, payload) for kind, payload in messages]

    def step(self, node: Node) -> None:
        self.send(node, node.gossip.step(self.when, connected=node.connected))
        node.shown += node.gossip.roster.changes(100)

    def deliver(self, index: int = 0, *, again: bool = False) -> None:
        node, kind, payload = self.on_the_way[index] if again else self.on_the_way.pop(index)
        if node in self.nodes and node.connected:
            node.gossip.receive(kind, payload, self.when)

    def pass_time(self, seconds: float, *, deliver: bool) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for node in self.nodes:
                self.step(node)
            while deliver and self.on_the_way:
                self.deliver()

    def arrive(self, node: Node, user: str) -> None:
        self.lives += 1
        if user not in self.present():
            self.back_at[user] = self.now
        node.connections.append((user, f"connection-{self.lives}"))
        node.gossip.local.arrive(*node.connections[-1], self.now)

    def depart(self, node: Node, index: int) -> None:
        user, connection = node.connections.pop(index)
        node.gossip.local.depart(user, connection, self.when)
        if user not in self.present():
            self.left_at[user] = self.now

    def present(self) -> set[str]:
        return {user for node in self.nodes for user, _ in node.connections}

    def agree(self) -> None:
        """Check that every node shows each user's true status, and announced it."""
        for node in self.nodes:
            shown = {user for user in USERS if node.gossip.roster.status(user) != "offline"}
            assert shown == self.present(), node.name
            last = {change.user: change.status for change in node.shown}
            assert {user for user, status in last.items() if status != "offline"} == self.present()
