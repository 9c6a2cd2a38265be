"""The load: seeded clients that post to shared rooms over all nodes, and behave like people and their networks.

They arrive late, leave and return, read the history, reconnect to any node, lose the connection right after they sent
a frame, and repeat commands that were answered long ago. Each client's choices are seeded; their timing depends on the
cluster.
"""

import asyncio
import random
from collections.abc import Iterator

from tests.drill.client import Client, Order
from tests.drill.cluster import Cluster, Node
from tests.drill.connection import Connection, Lost
from tests.drill.evidence.history import History

ROOMS = ("hot-0", "hot-1", "hot-2")
PEOPLE = 8
LATE = 2
"""The number of people who start only when `call` is used."""

REMEMBERED = 20
"""Answered messages of which one is repeated now and then."""


class Person(Client):
    """A client that posts."""

    def __init__(self, load: "Load", number: int, rng: random.Random) -> None:
        # Two clients share a user: the ref is shown to both, and both receive every event.
        user = f"user-{max(1, number)}"
        super().__init__(f"p{number}", user, load.nodes, load.history, rng)
        self.rooms = list(ROOMS)
        self.posted = 0
        self._load = load
        self._may_leave = number > 1
        self._from_first = number % 2 == 0
        self._sent: list[Order] = []

    def first_cursor(self) -> int | None:
        """See `Client`: some join a room from its first event, the others as a chat does."""
        return 0 if self._from_first else None

    async def act(self, connection: Connection) -> None:
        """Wait a random time and act at random; rest while the load is stopped."""
        if self._load.stopped:
            self.resting = True
            await self.rest(connection)
            self.resting = False
            return
        await self.rest(connection, self.rng.expovariate(self._load.rate_each))
        await self._by_chance(connection)

    async def _by_chance(self, connection: Connection) -> None:
        chance = self.rng.random()
        if self.rng.random() < self._load.cutting:
            await self._send_and_cut(connection)
        elif chance < 0.80:
            for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
                self._sent.append(self._message())
            del self._sent[:-REMEMBERED]
        elif chance < 0.89:
            await self._read(connection)
        elif chance < 0.94:
            self._repeat()
        elif chance < 0.97 and self._may_leave:
            self.order("leave", self.rng.choice(self.rooms))  # and `answered` brings it back
        else:
            raise Lost  # disconnects, and reconnects with its cursors

    def _message(self) -> Order:
        self.posted += 1
        content = f"{self.name} says {self.posted} " + "~" * self.rng.choice((0, 0, 20, 400))
        return self.order("send", self.rng.choice(self.rooms), content=content)

    async def _send_and_cut(self, connection: Connection) -> None:
        order = self._message()
        await connection.send_and_cut("send", "message:send", order.ref, room=order.room, **order.fields)
        raise Lost

    async def _read(self, connection: Connection) -> None:
        room = self.rng.choice(self.rooms)
        fields = {"room": room, "limit": self.rng.choice((5, 20, 50))}
        if self.rng.random() < 0.4 and self.cursors[room] > 1:
            fields[self.rng.choice(("before", "after"))] = self.rng.randint(1, self.cursors[room])
        await connection.command("history", "message:history", f"read-{self.rng.getrandbits(64):x}", **fields)

    def _repeat(self) -> None:
        answered = [order for order in self._sent if order.answer is not None]
        if answered:
            order = self.rng.choice(answered)
            self.orders.append(Order(order.op, order.room, order.ref, order.fields))

    def answered(self, order: Order) -> None:
        """See `Client`: a user who left rejoins at once, and asks for the missed events."""
        if order.op == "leave":
            self.order("join", order.room, after=self.cursors[order.room])


class Probe(Client):
    """A client of one node that posts when asked to: it measures how long a node takes to serve and to deliver."""

    def __init__(self, node: Node, nodes: list[Node], history: History, rng: random.Random) -> None:
        super().__init__(f"probe{node.number}", f"probe-{node.number}", nodes, history, rng, home=node)
        # Every probe is subscribed to every room and posts to its own: no post delivers another probe's events.
        self.rooms = [f"probe-{one.number}" for one in nodes] + list(ROOMS)
        self.room = f"probe-{node.number}"
        self.said = 0

    async def act(self, connection: Connection) -> None:
        """Rest until there is a message to post."""
        self.resting = True
        await self.rest(connection)
        self.resting = False

    async def say(self, room: str | None = None) -> int:
        """Post a message, to this probe's room if no other is named; return its seq once it is acked."""
        self.said += 1
        order = self.order("send", room or self.room, content=f"{self.name} says {self.said}")
        await order.done.wait()
        assert order.answer is not None
        return order.answer.seq


class Load:
    """All clients."""

    def __init__(self, cluster: Cluster, history: History, *, seed: int, rate: float) -> None:
        rng = random.Random(seed)
        self.nodes = cluster.nodes
        self.history = history
        self.stopped = False
        self.cutting = 0.01
        self.rate_each = rate / PEOPLE
        self.people = [Person(self, number, random.Random(rng.random())) for number in range(PEOPLE)]
        self.probes = [Probe(node, self.nodes, history, random.Random(rng.random())) for node in self.nodes]
        self._waiting = self.people[-LATE:]
        self._tasks: dict[Client, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start every client but the late ones."""
        for one in (*self.people[:-LATE], *self.probes):
            self._live(one)

    def call(self) -> None:
        """Start one of the late clients."""
        if self._waiting:
            self._live(self._waiting.pop(0))

    def stop(self) -> None:
        """Stop new actions of all clients."""
        self.stopped = True

    def resume(self) -> None:
        """Resume the actions."""
        self.stopped = False
        for one in self.people:
            one.wake.set()

    async def settled(self) -> None:
        """Wait until every client is connected and has no open order."""
        while not all(one.resting and not one.orders for one in self.living):
            self._check()
            await asyncio.sleep(0.01)

    async def heard(self, heads: dict[str, int]) -> None:
        """Wait until every client has received its rooms up to the heads."""
        while not all(one.has(heads) for one in self.living):
            self._check()
            await asyncio.sleep(0.01)

    async def acked_more(self, more: int) -> None:
        """Wait until `more` further commands are acknowledged."""
        goal = self.acks() + more
        while self.acks() < goal:
            self._check()
            await asyncio.sleep(0.02)

    def acks(self) -> int:
        """Return how many tries were acknowledged so far."""
        return sum(one.acked for one in self.living)

    @property
    def living(self) -> Iterator[Client]:
        """The clients that have started."""
        return iter([*self._tasks])

    async def end(self) -> None:
        """End every connection."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _live(self, one: Client) -> None:
        self._tasks[one] = asyncio.create_task(one.live())

    def _check(self) -> None:
        """Raise the error of a failed client, which is a fault of the drill."""
        for task in self._tasks.values():
            if task.done():
                task.result()
