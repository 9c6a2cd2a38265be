"""A client that sends malformed frames, and what the log may record of them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients.native import PATIENCE
from tests.support.environment import token
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database


def said(frame: dict[str, Any], **fields: Any) -> str:
    return json.dumps({**frame, **fields})


class Bob:
    """A connection that sends arbitrary frames, at either endpoint."""

    def __init__(self, socket: ClientConnection, door: str) -> None:
        self.socket = socket
        self._native = door == "native"

    async def meet(self) -> None:
        """Authenticate, and wait for the answer."""
        auth = {"token": token("bob"), "rooms": {"general": None}}
        if self._native:
            await self.socket.send(json.dumps({"type": "connect", "protocol": 1, **auth}))
        else:
            await self.socket.send("40" + json.dumps(auth))
        while "room:receipts" not in str(await self.hear()):
            pass

    async def hear(self) -> str | bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.socket.recv()

    async def refusal(self, text: str) -> dict[str, Any]:
        """Send a command; return its answer, an ack or an error."""
        if not self._native:
            kind, fields = re.fullmatch(r'\{"type": ?"([^"]+)"(?:, ?)?(.*)\}', text, re.DOTALL).groups()  # type: ignore[union-attr] # all begin so
            text = f'427["{kind}",{{{fields}}}]'
        await self.socket.send(text)
        while True:
            answer = str(await self.hear())
            if self._native and (found := json.loads(answer))["type"] in ("ack", "error"):
                return dict(found)
            if not self._native and answer.startswith("437"):
                (found,) = json.loads(answer[3:])
                return dict(found.get("error", found))

    async def lives(self) -> bool:
        answer = await self.refusal('{"type":"room:list","ref":"alive"}')
        return "rooms" in answer

    async def closed_by(self, frame: str | bytes) -> int | None:
        """Send a frame and read to the end; return the close code."""
        await self.socket.send(frame)
        with pytest.raises(ConnectionClosed):
            while True:
                await self.hear()
        return self.socket.close_code


@asynccontextmanager
async def bobs(node: Process, door: str) -> AsyncIterator[Bob]:
    """Give a connection of bob."""
    url = node.url if door == "native" else node.url[: -len("ws")] + "socket.io/?EIO=4&transport=websocket"
    async with connect(url, ping_interval=None, max_size=None) as socket:
        bob = Bob(socket, door)
        await bob.meet()
        yield bob


def record(database: Database) -> list[Any]:
    """Return every event in the streams of rooms, readers and people."""
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute(
            "SELECT stream, originator_version, topic FROM stored_events WHERE stream NOT LIKE 'session:%' "
            "ORDER BY notification_id"
        ).fetchall()
