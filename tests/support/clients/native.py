"""A small client of the native endpoint, with the stock `websockets` library, that records what it receives."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import contract
from tests.support.environment import token

PATIENCE = 60.0
"""Seconds after which a waiting test fails."""

Event = dict[str, Any]


class Refused(Exception):
    """A command was answered with an error."""

    def __init__(self, error: Event) -> None:
        self.error = error
        self.code = error["code"]
        super().__init__(f"{error['code']}: {error['message']}")


class Client:
    """One connection. `heard` has every event in the order of arrival, `faults` the violations of the contract."""

    def __init__(self, socket: ClientConnection, user: str) -> None:
        self.socket = socket
        self.user = user
        self.heard: list[Event] = []
        self.connected: Event = {}
        self.faults: list[str] = []
        self._kinds: dict[str, str] = {}
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def say(self, kind: str, **fields: Any) -> Event:
        """Send a command and return its ack.

        Raises:
            Refused: it was answered with an error.
            ConnectionClosed: the connection ended first.
        """
        ref = fields.setdefault("ref", str(uuid4()))
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._kinds[ref] = kind
        await self.socket.send(json.dumps({"type": kind, **fields}))
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def join(self, room: str, **fields: Any) -> Event:
        """Join a room, and wait for the history that follows the ack."""
        ack = await self.say("room:join", roomId=room, **fields)
        await self.until(lambda: self.events("message:history", roomId=room))
        return ack

    async def post(self, room: str, content: str, **fields: Any) -> Event:
        """Send a message."""
        return await self.say("message:send", roomId=room, content=content, **fields)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on what was heard holds."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: condition() or self._reading.done())
        assert condition(), f"the connection ended first; heard {self.heard[-5:]}"

    def events(self, kind: str, **fields: Any) -> list[Event]:
        """Return what was heard of a type with these fields."""
        wanted = {"type": kind, **fields}
        return [event for event in self.heard if wanted.items() <= event.items()]

    def seqs(self, room: str) -> list[int]:
        """Return the numbers of a room's events as they came."""
        of_room = (event for event in self.heard if event.get("roomId") == room and event["type"] != "ack")
        return [event["seq"] for event in of_room if "seq" in event]

    async def closed(self) -> int:
        """Wait for the end; return its close code."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
            await self._reading
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def close(self) -> None:
        """Say goodbye."""
        await self.socket.close()
        await self._reading

    def cut(self) -> None:
        """Cut the connection without a close frame."""
        self.socket.transport.abort()

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                await self._take(json.loads(text))
        except ConnectionClosed:
            pass
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the connection ended before the answer"))
                answer.exception()  # marks the exception as retrieved, since the caller may be gone
        async with self._news:
            self._news.notify_all()

    async def _take(self, event: Event) -> None:
        self.faults += contract.faults(event, self._kinds.get(event.get("ref", "")))
        answer = self._answers.get(event.get("ref", "")) if event["type"] in ("ack", "error") else None
        if answer is not None and not answer.done():
            if event["type"] == "ack":
                answer.set_result(event)
            else:
                answer.set_exception(Refused(event))
                answer.exception()
        self.heard.append(event)
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def raw(url: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """Give a connection to the native endpoint that has not sent `connect`."""
    async with connect(url, ping_interval=None, max_size=None, **options) as socket:
        yield socket


@asynccontextmanager
async def client(
    url: str, user: str, rooms: dict[str, int | None] | None = None, **fields: Any
) -> AsyncIterator[Client]:
    """Give a connection of a user that has received `connected`."""
    async with raw(url) as socket:
        joined = Client(socket, user)
        name = fields.pop("name", None)
        claims = {"name": name} if name else {}
        await socket.send(
            json.dumps(
                {
                    "type": "connect",
                    "protocol": 1,
                    "token": token(user, **claims),
                    "rooms": rooms or {},
                    **fields,
                }
            )
        )
        await joined.until(lambda: joined.events("connected"))
        joined.connected = joined.events("connected")[0]
        try:
            yield joined
        finally:
            await joined.close()
        assert not joined.faults, "the server sent what docs/reference/asyncapi.yaml does not say"
