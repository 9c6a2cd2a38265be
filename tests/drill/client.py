"""A correct client: it keeps cursors, reconnects with them, and repeats commands that were not answered.

An `Order` is a command to be recorded. The client repeats it under the same ref, on any node, until
there is a final answer: an ack, or a refusal that is not `retryable`. Subclasses decide what to send, and when.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.drill.cluster import Node
from tests.drill.connection import Connection, Lost, opened
from tests.drill.evidence.history import Delivery, History, Op, Operation

TYPES = {"send": "message:send", "join": "room:join", "leave": "room:leave"}
AT_ONCE = 8
"""Messages that may wait for their acks on one connection."""


@dataclass
class Order:
    """A command to be recorded; `answer` is set once there is one."""

    op: Op
    room: str
    ref: str
    fields: dict[str, Any] = field(default_factory=dict)
    answer: Operation | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Client:
    """One client of one user. If `home` is given, the client connects only to that node."""

    def __init__(
        self,
        name: str,
        user: str,
        nodes: Sequence[Node],
        history: History,
        rng: random.Random,
        home: Node | None = None,
    ) -> None:
        self.name = name
        self.user = user
        self.rooms: list[str] = []
        self.cursors: dict[str, int] = {}
        self.orders: list[Order] = []
        self.resting = False
        self.acked = 0
        self.rng = rng
        self.wake = asyncio.Event()
        self._nodes = nodes
        self._history = history
        self._home = home
        self._waiters: list[tuple[str, int, asyncio.Event]] = []

    async def live(self) -> None:
        """Connect, and reconnect after each loss, until cancelled."""
        while True:
            try:
                await self._one_connection()
            except Lost:
                await asyncio.sleep(self.rng.uniform(0.02, 0.2))
            finally:
                self.resting = False

    def order(self, op: Op, room: str, **fields: Any) -> Order:
        """Queue a command; the client sends it when the earlier ones are answered."""
        ref = str(UUID(int=self.rng.getrandbits(128), version=4))
        made = Order(op, room, ref, fields)
        self.orders.append(made)
        self.wake.set()
        return made

    async def heard(self, room: str, seq: int) -> None:
        """Wait until this client has received a room up to a seq, over any number of connections."""
        if self.cursors.get(room, 0) < seq:
            reached = asyncio.Event()
            self._waiters.append((room, seq, reached))
            await reached.wait()

    def has(self, heads: dict[str, int]) -> bool:
        """Return whether this client has received its rooms up to these heads."""
        return all(self.cursors.get(room, 0) >= heads.get(room, 0) for room in self.rooms)

    async def act(self, connection: Connection) -> None:
        """Act once every order is answered. Subclasses override it."""
        await self.rest(connection)

    def answered(self, order: Order) -> None:
        """Callback: an order was answered. Subclasses override it."""

    async def rest(self, connection: Connection, seconds: float | None = None) -> None:
        """Wait until `wake` is set, for at most `seconds`.

        Raises:
            Lost: the connection ended first.
        """
        self.wake.clear()  # no order is open now: the next one sets the event
        waits = [asyncio.create_task(event.wait()) for event in (self.wake, connection.ended)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if connection.ended.is_set():
            raise Lost

    async def _one_connection(self) -> None:
        node = self._home or self.rng.choice(self._nodes)
        who = {"process": self.name, "user": self.user, "node": node.number}
        async with opened(node.url, self._history, **who) as connection:  # type: ignore[arg-type] # node is a number
            connection.hear = self._hear
            await connection.connect(self.cursors)
            while True:
                self._want_rooms()
                await self._work_off(connection)
                await self.act(connection)

    def _hear(self, delivery: Delivery) -> None:
        self._reach(delivery.room, delivery.seq)

    def _reach(self, room: str, seq: int) -> None:
        # A cursor never moves back, even if this connection starts with older events.
        self.cursors[room] = max(seq, self.cursors.get(room, 0))
        for waiter in [one for one in self._waiters if one[0] == room and one[1] <= seq]:
            self._waiters.remove(waiter)
            waiter[2].set()

    def _want_rooms(self) -> None:
        wanted = {order.room for order in self.orders if order.op == "join"}
        for room in self.rooms:
            if room not in self.cursors and room not in wanted:
                self.order("join", room, after=self.first_cursor())

    def first_cursor(self) -> int | None:
        """Return the `after` of the first join of a room; None lets the server choose."""
        return 0

    async def _work_off(self, connection: Connection) -> None:
        """Send every order until it is answered, in order: messages together, joins and leaves one by one."""
        while self.orders:
            sends = 0
            while sends < min(len(self.orders), AT_ONCE) and self.orders[sends].op == "send":
                sends += 1
            batch = self.orders[: max(1, sends)]
            tries = await asyncio.gather(
                *(self._try(connection, one) for one in batch), return_exceptions=True
            )
            for failure in filter(None, tries):
                raise failure

    async def _try(self, connection: Connection, order: Order) -> None:
        answer = await connection.command(
            order.op, TYPES[order.op], order.ref, room=order.room, **order.fields
        )
        if answer.outcome == "refused" and answer.retryable:
            await asyncio.sleep(0.05)
            if self._home is None and self.rng.random() < 0.5:
                connection.cut()  # another node may be able to answer
            return
        if answer.outcome == "ok" and order.op == "join":
            after = order.fields.get("after")
            self._reach(order.room, answer.seq - 1 if after is None else after)
        self.acked += answer.outcome == "ok"
        order.answer = answer
        order.done.set()
        self.orders.remove(order)
        self.answered(order)
