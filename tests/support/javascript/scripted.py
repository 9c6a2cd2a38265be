"""A server whose every frame the test writes, for what a real one does rarely."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
LOST = 1006
EPOCH = "0e7d3b52-7d34-44ac-9d0c-51f1f7a1c001"


class Connection:
    """One connection of a client: what it sent, by type."""

    def __init__(self, socket: ServerConnection, changed: asyncio.Condition) -> None:
        self._socket = socket
        self._changed = changed
        self.frames: list[Frame] = []
        self.gone = False

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame."""
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def close(self, code: int) -> None:
        """Close the connection with a code; with 1006 as if the network had."""
        if code == LOST:
            self._socket.transport.abort()
        else:
            await self._socket.close(code)

    async def receives(self, kind: str, number: int = 1, **fields: Any) -> Frame:
        """Wait for the `number`th frame of a type with these fields."""
        wanted = {"type": kind, **fields}
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.found(wanted)) >= number)
        return self.found(wanted)[number - 1]

    def found(self, wanted: Frame) -> list[Frame]:
        """Return the frames with these fields."""
        return [frame for frame in self.frames if wanted.items() <= frame.items()]

    async def welcome(self, *, expires: float = 3600, epoch: str = EPOCH, **rooms: Frame) -> Frame:
        """Answer `connect`, which is returned, and the question for the list of rooms."""
        hello = await self.receives("connect")
        at = (datetime.now(UTC) + timedelta(seconds=expires)).isoformat()
        await self.send(
            "connected", protocol=1, userId="alice", session="s", epoch=epoch, expiresAt=at,
            pingInterval=25, pingTimeout=20, rooms=rooms,
        )  # fmt: skip
        asked = await self.receives("room:list")
        await self.send("ack", ref=asked["ref"], rooms=[], invitations=[], hasMore=False)
        return hello

    async def admit(self, head: int, *contents: str, more: bool = False) -> None:
        """Answer `room:join` of an existing member, with the last messages up to `head`."""
        asked = await self.receives("room:join")
        await self.send("ack", ref=asked["ref"], seq=head, at=at(head), head=head, epoch=EPOCH)
        await self.send("room:members", roomId="general", members=[], hasMore=False)
        await self.send("room:receipts", roomId="general", receipts=[])
        first = head - len(contents) + 1
        messages = [message(first + place, content) for place, content in enumerate(contents)]
        await self.send("message:history", roomId="general", messages=messages, hasMore=more)

    async def posts(self, seq: int, content: str, **fields: Any) -> None:
        """Send a new message."""
        await self.send("message:new", **message(seq, content), **fields)

    async def ends(self) -> None:
        """Wait until the client has closed the connection."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.gone)

    async def read(self) -> None:
        """Collect what the client sends."""
        try:
            async for text in self._socket:
                self.frames.append(json.loads(text))
                await self._notify()
        except ConnectionClosed:
            pass
        self.gone = True
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Server:
    """The connections of all clients, in order."""

    def __init__(self) -> None:
        self.url = ""
        self._connections: asyncio.Queue[Connection] = asyncio.Queue()
        self._changed = asyncio.Condition()

    async def accept(self) -> Connection:
        """Return the next connection."""
        return await self._connections.get()

    async def serve(self, socket: ServerConnection) -> None:
        """Handle one connection."""
        connection = Connection(socket, self._changed)
        self._connections.put_nowait(connection)
        await connection.read()


def at(seq: int) -> str:
    return f"2026-03-14T09:00:{seq % 60:02d}.000000Z"


def message(seq: int, content: str) -> Frame:
    """Return a message of bob's."""
    author = {"userId": "bob", "name": "Bob"}
    return {"roomId": "general", "messageId": seq, "seq": seq, **author, "content": content, "at": at(seq)}


@asynccontextmanager
async def scripted() -> AsyncIterator[Server]:
    """Give a server."""
    server = Server()
    async with serve(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/ws"
        yield server
