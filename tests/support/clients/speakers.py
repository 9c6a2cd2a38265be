"""Connections at every endpoint that send frames exactly as a test gives them, and return the codes of the answers."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients.native import PATIENCE
from tests.support.environment import token
from tests.support.processes.processes import Process

DOORS = ["native", "websocket", "polling"]

Write = Callable[[Sequence[str]], Awaitable[None]]
Read = Callable[[], Awaitable[str]]


class Ended(Exception):
    """The server ended the connection, or did not let it in: with the code, where there is one."""


class Speaker:
    """One connection at some door, which says what a test wants letter for letter."""

    def __init__(self, write: Write, read: Read, *, native: bool) -> None:
        self._write = write
        self._read = read
        self._native = native
        self._refs = itertools.count()

    def framed(self, command: str, **fields: object) -> str:
        """Return a command in the encoding of this endpoint."""
        said = {"ref": f"ref-{next(self._refs)}", **fields}
        if self._native:
            return json.dumps({"type": command, **said}, ensure_ascii=False)
        return "421" + json.dumps([command, said], ensure_ascii=False)

    async def send(self, *texts: str) -> list[str]:
        """Send frames; return the code of each answer that is an error, and nothing for each ack."""
        await self._write(texts)
        async with asyncio.timeout(PATIENCE):
            return [await self._answer() for _ in texts]

    async def say(self, command: str, **fields: object) -> str:
        """Say a command; return the code of its error, or nothing."""
        return (await self.send(self.framed(command, **fields)))[0]

    async def _answer(self) -> str:
        while True:
            said = await self._read()
            if self._native:
                answer = json.loads(said)
                if answer["type"] in ("ack", "error"):
                    return str(answer.get("code", ""))
            elif said.startswith("431"):
                (answer,) = json.loads(said[3:])
                return "" if answer["ok"] else str(answer["error"]["code"])


@asynccontextmanager
async def at(
    door: str, node: Process, user: str, rooms: dict[str, int] | None = None
) -> AsyncIterator[Speaker]:
    """Enter at a door.

    Raises:
        Ended: one is not let in.
    """
    auth = {"token": token(user), "rooms": rooms or {}}
    enter = {"native": native, "websocket": websocket, "polling": polling}[door]
    async with enter(node, auth) as speaker:
        yield speaker


@asynccontextmanager
async def native(node: Process, auth: dict[str, Any]) -> AsyncIterator[Speaker]:
    async with connect(node.url, max_size=None) as socket:
        write, read = over(socket)
        await write([json.dumps({"type": "connect", "protocol": 1, **auth})])
        first = json.loads(await read())
        if first["type"] != "connected":
            raise Ended(first["code"])
        yield Speaker(write, read, native=True)


@asynccontextmanager
async def websocket(node: Process, auth: dict[str, Any]) -> AsyncIterator[Speaker]:
    url = node.address.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with connect(url, max_size=None) as socket:
        write, read = over(socket)
        await read()
        await enter(write, read, auth)
        yield Speaker(write, read, native=False)


@asynccontextmanager
async def polling(node: Process, auth: dict[str, Any]) -> AsyncIterator[Speaker]:
    query = {"EIO": "4", "transport": "polling"}
    waiting: list[str] = []

    async def read() -> str:
        while not waiting:
            answer = await http.get("", params=query)
            if answer.status_code != 200 or answer.text == "1":
                raise Ended(answer.status_code)
            waiting.extend(answer.text.split("\x1e"))
        return waiting.pop(0)

    async def write(texts: Sequence[str]) -> None:
        answer = await http.post("", params=query, content="\x1e".join(texts).encode())
        if answer.status_code != 200:
            raise Ended(answer.status_code)

    async with httpx.AsyncClient(base_url=f"{node.address}/socket.io/", timeout=PATIENCE) as http:
        query["sid"] = json.loads((await read())[1:])["sid"]
        await enter(write, read, auth)
        yield Speaker(write, read, native=False)
        await http.post("", params=query, content="1")


async def enter(write: Write, read: Read, auth: dict[str, Any]) -> None:
    await write(["40" + json.dumps(auth)])
    answer = await read()
    if answer.startswith("44"):
        raise Ended(json.loads(answer[2:])["data"]["code"])


def over(socket: Any) -> tuple[Write, Read]:
    async def read() -> str:
        try:
            return str(await socket.recv())
        except ConnectionClosed as closed:
            raise Ended(closed.rcvd.code if closed.rcvd else None) from closed

    async def write(texts: Sequence[str]) -> None:
        for text in texts:
            await socket.send(text)

    return write, read
