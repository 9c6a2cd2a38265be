"""A server for the load generator's plain protocol that loses, duplicates and swaps exactly the given messages.

It uses the project's own WebSocket library, with one asyncio task per connection. `orders` names the fault for a
receiver (by the order of joining, in its room) and a message (by the order of posting, in its room).
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Fault = Literal["lose", "double", "swap", "close"]
"""`swap` delays a message until the next one of its room was sent; `close` closes the connection instead."""

Orders = dict[tuple[int, int], Fault]


class Faulty:
    """A server with one list of orders for every room."""

    def __init__(self, orders: Orders, *, refuse: tuple[int, ...] = ()) -> None:
        self._orders = orders
        self._refuse = refuse
        self._rooms: dict[str, list[ServerConnection]] = {}
        self._posts: dict[str, int] = {}
        self._held: dict[ServerConnection, str] = {}

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        async for text in connection:
            frame = json.loads(text)
            if frame["type"] == "room:join":
                self._rooms.setdefault(frame["roomId"], []).append(connection)
                await connection.send('{"type":"joined"}')
            else:
                await self._post(connection, frame)

    async def _post(self, author: ServerConnection, frame: dict[str, str]) -> None:
        room = frame["roomId"]
        number = self._posts[room] = self._posts.get(room, -1) + 1
        if number in self._refuse:
            await author.send(json.dumps({"type": "error", "code": "overloaded"}, separators=(",", ":")))
            return
        message = json.dumps({"type": "message:new", "content": frame["content"]}, separators=(",", ":"))
        for place, member in enumerate(self._rooms[room]):
            await self._deliver(member, message, self._orders.get((place, number)))
        await author.send(json.dumps({"type": "ack", "ref": frame["ref"]}, separators=(",", ":")))

    async def _deliver(self, member: ServerConnection, message: str, fault: Fault | None) -> None:
        if fault == "close":
            await member.close(4008)
            return
        if fault == "swap":
            self._held[member] = message
            return
        with suppress(ConnectionClosed):  # it got a close frame, and stays in its place
            for _ in range({"lose": 0, "double": 2}.get(fault or "", 1)):
                await member.send(message)
            if (held := self._held.pop(member, None)) is not None:
                await member.send(held)


@contextmanager
def faulty(orders: Orders, *, refuse: tuple[int, ...] = ()) -> Iterator[int]:
    """Run such a server in a thread until the block ends; give its port."""
    port: list[int] = []
    listening, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with serve(Faulty(orders, refuse=refuse).handle, "127.0.0.1", 0, compression=None) as server:
            port.append(next(iter(server.sockets)).getsockname()[1])
            listening.set()
            await stop.wait()

    def in_thread() -> None:
        loop.run_until_complete(run())
        loop.close()

    thread = threading.Thread(target=in_thread)
    thread.start()
    try:
        listening.wait()
        yield port[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
