"""Senders that lose connections and resend unacknowledged messages, and the check of what they received."""

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.clients.native import Client, Event, Refused, client
from tests.support.environment import environment
from tests.support.processes.processes import run
from tests.support.servers.databases import Database

ROOMS = ("red", "green", "blue")


LOST = (OSError, ConnectionClosed, InvalidHandshake, AssertionError, TimeoutError, EOFError)


@dataclass
class Address:
    """The present address of the server, which changes its port after a kill."""

    url: str


@dataclass
class Person:
    """A user who posts, loses the connection, reconnects with cursors and resends unacknowledged messages.

    `pace` is the seconds between two posts.
    """

    user: str
    server: Address
    goal: int
    cut_every: int = 0
    pace: float = 0.0
    acked: dict[str, int] = field(default_factory=dict)
    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    heard: dict[str, list[int]] = field(default_factory=lambda: {room: [] for room in ROOMS})
    lives: int = 0

    async def live(self) -> None:
        """Post until `goal` messages are acknowledged."""
        while len(self.acked) < self.goal:
            try:
                await self._one_connection()
            except LOST:
                await asyncio.sleep(0.02)

    async def catch_up(self, heads: dict[str, int]) -> None:
        """Reconnect a last time and receive everything up to the heads."""
        cursors = self._cursors()
        async with client(self.server.url, self.user, cursors) as connection:
            self._hear_from(connection)
            for room, head in heads.items():
                await connection.until(partial(self._has, room, head))

    def _has(self, room: str, head: int) -> bool:
        return (self.heard[room] or [0])[-1] >= head

    def _cursors(self) -> dict[str, int | None]:
        return {room: (seqs or [0])[-1] for room, seqs in self.heard.items()}

    async def _one_connection(self) -> None:
        self.lives += 1
        joined = self.lives > 1 and all(self.heard.values())
        async with client(self.server.url, self.user, self._cursors() if joined else {}) as connection:
            self._hear_from(connection)
            if not joined:
                for room in ROOMS:
                    await self._join(connection, room)
            pending = [ref for ref in self.sent if ref not in self.acked]
            while len(self.acked) < self.goal:
                ref = pending.pop() if pending else self._new_message()
                if self.cut_every and len(self.sent) % self.cut_every == 0 and self.lives < 30:
                    await self._send_and_cut(connection, ref)
                    return
                room, content = self.sent[ref]
                await asyncio.sleep(self.pace)
                try:
                    ack = await connection.post(room, content, ref=ref)
                except Refused as refused:
                    assert refused.error["retryable"], refused.error
                    continue
                self.acked[ref] = ack["seq"]

    async def _join(self, connection: Client, room: str) -> None:
        while True:
            try:
                await connection.join(room, after=0)
            except Refused as refused:
                assert refused.error["retryable"], refused.error
                await asyncio.sleep(0.02)
            else:
                return

    async def _send_and_cut(self, connection: Client, ref: str) -> None:
        room, content = self.sent[ref]
        frame = {"type": "message:send", "ref": ref, "roomId": room, "content": content}
        await connection.socket.send(json.dumps(frame))
        connection.cut()
        await connection.closed()

    def _new_message(self) -> str:
        ref = str(uuid4())
        self.sent[ref] = (ROOMS[len(self.sent) % len(ROOMS)], f"{self.user} says {len(self.sent)}")
        return ref

    def _hear_from(self, connection: Client) -> None:
        original = connection._take

        async def take(event: Event) -> None:
            self._hear(event)
            await original(event)

        for event in connection.heard:  # frames that arrived together with `connected`
            self._hear(event)
        connection._take = take  # type: ignore[method-assign] # the test records the frames

    def _hear(self, event: Event) -> None:
        if "seq" in event and event.get("roomId") in self.heard and event["type"] not in ("ack", "error"):
            self.heard[event["roomId"]].append(event["seq"])


async def judge(people: list[Person], database: Database, server: Address) -> None:
    """Compare what each user received with the log."""
    heads: dict[str, int] = {}
    recorded: dict[str, tuple[str, int]] = {}
    for room in ROOMS:
        code, lines, words = await run(environment(database), "audit", "replay", "--room", room)
        assert code == 0, words
        events = [json.loads(line) for line in lines.splitlines()]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), "the record has a hole"
        heads[room] = len(events)
        for event in events:
            if event["type"] == "MessagePosted":
                assert event["ref"] not in recorded, "a message is on the record twice"
                recorded[event["ref"]] = (room, event["seq"])
    for person in people:
        for ref, seq in person.acked.items():
            assert recorded.get(ref) == (person.sent[ref][0], seq), (
                "an acknowledged message is not where the ack said"
            )
        await person.catch_up(heads)
        for room in ROOMS:
            assert person.heard[room] == list(range(1, heads[room] + 1)), (
                f"{person.user} heard {room} with a fault"
            )
    assert set(recorded) <= {ref for person in people for ref in person.sent}, "a message nobody sent"
    assert server.url
