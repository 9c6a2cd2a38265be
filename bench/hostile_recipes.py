"""What a hostile account or address does to a node: each recipe repeats one kind of abuse until it is stopped.

A recipe reconnects when it is cut, counts what it got done, and waits only when the server does not let it in.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.support.environment import token

BODIES = 100
"""Unfinished bodies that one account holds open: 500 with five accounts."""

BODY = 999_000
LONGEST = 10_000
USER_ID = 128
REFUSED_PAUSE = 0.2

SEND_BUFFER = 64 * 1024
"""Bytes that an attacker's kernel sends ahead; over a network about as much is on its way before the node refuses it.

Without the limit, the kernel would copy a whole body over the loopback device before the node has seen its head.
"""


@dataclass
class Target:
    """A node's address, the local address and account of the attacker, and the people to bother."""

    address: str
    local: str
    user: str
    victims: list[str]
    done: Counter[str] = field(default_factory=Counter)
    refs: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def port(self) -> int:
        """The node's port."""
        return urlsplit(self.address).port or 80

    def frame(self, kind: str, **fields: object) -> str:
        """Return a command with a ref of its own."""
        return json.dumps({"type": kind, "ref": f"{self.user}-{next(self.refs)}-{time.time_ns()}", **fields})


Recipe = Callable[[Target], Coroutine[None, None, None]]


async def dial(target: Target) -> socket.socket:
    """Open a TCP connection from the attacker's address."""
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    tcp.setblocking(False)
    tcp.bind((target.local, 0))
    await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", target.port))
    return tcp


@contextlib.asynccontextmanager
async def websocket(target: Target, path: str) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket from the attacker's address."""
    url = target.address.replace("http", "ws", 1) + path
    options: dict[str, Any] = {"max_size": None, "ping_interval": None, "compression": None}
    async with connect(url, sock=await dial(target), **options) as opened:
        yield opened


@contextlib.asynccontextmanager
async def native(target: Target) -> AsyncIterator[ClientConnection]:
    """Connect at the native endpoint, and read what comes in the background."""
    async with websocket(target, "/ws") as opened:
        await opened.send(json.dumps({"type": "connect", "protocol": 1, "token": token(target.user)}))
        reading = asyncio.create_task(_count(opened, target))
        try:
            yield opened
        finally:
            reading.cancel()


async def _count(opened: ClientConnection, target: Target) -> None:
    with contextlib.suppress(WebSocketException):
        async for text in opened:
            if b'"type":"error"' in (text if isinstance(text, bytes) else text.encode()):
                target.done["refused"] += 1


async def _flood(target: Target, name: str, first: list[str], frames: Callable[[int], str]) -> None:
    """Send commands as fast as the socket takes them."""
    async with native(target) as opened:
        for frame in first:
            await opened.send(frame)
        for number in itertools.count():
            await opened.send(frames(number))
            target.done[name] += 1
            await asyncio.sleep(0)


async def fill_rooms(target: Target) -> None:
    """Create rooms with victims as members, so that their places are used up."""
    victims = itertools.cycle(target.victims)
    await _flood(
        target, "fill_rooms", [],
        lambda _: target.frame("room:create", name="full", visibility="private", members=[next(victims)]),
    )  # fmt: skip


def _own_room(target: Target) -> str:
    return f"den-{target.user}"


def _first_message(target: Target) -> list[str]:
    room = _own_room(target)
    return [
        target.frame("room:join", roomId=room),
        target.frame("message:send", roomId=room, content="first"),
    ]


async def edit_for_ever(target: Target) -> None:
    """Edit one message again and again, with as much as is allowed."""
    room = _own_room(target)
    await _flood(
        target, "edit_for_ever", _first_message(target),
        lambda number: target.frame(
            "message:edit", roomId=room, messageId=3, content=f"{number}" + "x" * (LONGEST - 20)
        ),
    )  # fmt: skip


async def toggle_reactions(target: Target) -> None:
    """Add and remove reactions of one message."""
    room, kinds = _own_room(target), ("message:react", "message:unreact")
    await _flood(
        target, "toggle_reactions", _first_message(target),
        lambda number: target.frame(kinds[number % 2], roomId=room, messageId=3, emoji="\N{THUMBS UP SIGN}"),
    )  # fmt: skip


async def mention_strangers(target: Target) -> None:
    """Mention 100 ids of the greatest length, all made up."""
    room = _own_room(target)
    await _flood(
        target, "mention_strangers", _first_message(target),
        lambda number: target.frame(
            "message:send", roomId=room, content="hi",
            mentions=[f"{number}-{each}-".ljust(USER_ID, "u") for each in range(100)],
        ),
    )  # fmt: skip


async def heavy_markup(target: Target) -> None:
    """Post markup that is costly to check."""
    room = _own_room(target)
    content = ("<div>:" * LONGEST)[:LONGEST]
    await _flood(
        target, "heavy_markup", _first_message(target),
        lambda _: target.frame("message:send", roomId=room, content=content),
    )  # fmt: skip


async def disjoint_pages(target: Target) -> None:
    """Read single messages, each apart from the last, so that the record of what was read grows."""
    room = _own_room(target)
    await _flood(
        target, "disjoint_pages", _first_message(target),
        lambda number: target.frame("message:history", roomId=room, after=2 * (number % 10_001), limit=1),
    )  # fmt: skip


async def deep_frames(target: Target) -> None:
    """Send the largest frames, full of brackets and duplicate keys."""
    nested = "[" * 29 + "]" * 29
    frame = '{"type":"message:send","ref":"r","a":[' + ",".join([nested] * 2_000) + ',{"b":0,"b":1}]}'
    await _flood(target, "deep_frames", [], lambda _: frame)


async def bad_connects(target: Target) -> None:
    """Send CONNECT packets without a valid token on one Socket.IO connection."""
    async with websocket(target, "/socket.io/?EIO=4&transport=websocket") as opened:
        while True:
            await opened.send('40{"token":"nonsense"}')
            target.done["bad_connects"] += 1
            await asyncio.sleep(0)


async def short_sessions(target: Target) -> None:
    """Open and close sessions on one Socket.IO connection."""
    async with websocket(target, "/socket.io/?EIO=4&transport=websocket") as opened:
        while True:
            await opened.send("40" + json.dumps({"token": token(target.user)}))
            await opened.send("41")
            target.done["short_sessions"] += 1
            await asyncio.sleep(0)


async def short_connections(target: Target) -> None:
    """Connect at the native endpoint and leave, again and again."""
    while True:
        async with native(target):
            target.done["short_connections"] += 1


async def unfinished_bodies(target: Target) -> None:
    """Hold polling requests open whose bodies are complete but for a few bytes."""
    await asyncio.gather(*(_unfinished_body(target) for _ in range(BODIES)))


async def _unfinished_body(target: Target) -> None:
    reader, writer = await asyncio.open_connection(sock=await dial(target))
    try:
        head = (
            f"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n"
        )
        writer.write(head.encode() + b"x" * (BODY - 10))
        target.done["unfinished_bodies"] += 1
        await writer.drain()
        await reader.read()
    finally:
        writer.close()


RECIPES: tuple[Recipe, ...] = (
    fill_rooms, edit_for_ever, toggle_reactions, mention_strangers, heavy_markup, disjoint_pages, deep_frames,
    bad_connects, short_sessions, short_connections, unfinished_bodies,
)  # fmt: skip


async def attack(targets: list[Target], seconds: float, only: list[str]) -> dict[str, int]:
    """Run all recipes, or those named in `only`, for each target at once; return how often each acted."""
    recipes = [recipe for recipe in RECIPES if not only or recipe.__name__ in only]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(_repeat(recipe, target) for target in targets for recipe in recipes))
    return dict(sum((target.done for target in targets), Counter()))


async def _repeat(recipe: Recipe, target: Target) -> None:
    while True:
        try:
            await recipe(target)
        # AttributeError: `websockets` aborts a transport that asyncio has closed already.
        except (OSError, WebSocketException, InvalidHandshake, EOFError, AttributeError):
            target.done["cut"] += 1
        await asyncio.sleep(REFUSED_PAUSE)
