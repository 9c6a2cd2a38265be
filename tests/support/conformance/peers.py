"""A server on a real socket in the test's own loop, and clients that send only the frames of a test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from service.gateway.engineio import Engine
from tests.support.conformance.apps import config

PATIENCE = 30.0
"""Seconds after which a test counts as hanging."""


class Served(uvicorn.Server):
    """A running server."""

    def __init__(self, app: Starlette, engine: Engine, path: str) -> None:
        super().__init__(config(app, {path: engine}, host="127.0.0.1"))
        self.engine = engine
        self.path = path
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own loop polls ten times a second."""
        await self.on_tick(0)
        await self.stopping.wait()

    def stop(self) -> None:
        self.stopping.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}{self.path}"

    async def shutdown(self, sockets: Any = None) -> None:
        self.engine.close(4000, "shutting down")  # type: ignore[arg-type] # a number
        await super().shutdown(sockets)


@asynccontextmanager
async def serving(app: Starlette, engine: Engine, path: str) -> AsyncIterator[Served]:
    server = Served(app, engine, path)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server
    finally:
        server.stop()
        await asyncio.wait_for(running, PATIENCE)


class Poller:
    """A session over HTTP polling."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.sid = ""

    @property
    def query(self) -> dict[str, str]:
        return {"EIO": "4", "transport": "polling", **({"sid": self.sid} if self.sid else {})}

    async def open(self) -> dict[str, Any]:
        answer = await self.poll()
        assert answer.status_code == 200
        assert answer.text.startswith("0")
        told: dict[str, Any] = json.loads(answer.text[1:])
        self.sid = told["sid"]
        return told

    async def poll(self) -> httpx.Response:
        return await self.http.get(self.url, params=self.query)

    async def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        return await self.http.post(self.url, params=self.query, content=body, headers=headers)

    async def say(self, body: str) -> None:
        answer = await self.post(body)
        assert (answer.status_code, answer.text) == (200, "ok")

    async def is_unknown(self) -> bool:
        answer = await self.poll()
        return answer.status_code == 400 and answer.json() == {"code": 1, "message": "Session ID unknown"}


@asynccontextmanager
async def poller(server: Served) -> AsyncIterator[Poller]:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        session = Poller(http, f"http://{server.address}")
        await session.open()
        yield session


@asynccontextmanager
async def websocket(
    server: Served, query: str = "EIO=4&transport=websocket"
) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{server.address}?{query}", ping_interval=None) as socket:
        yield socket


async def closed(socket: ClientConnection) -> int | None:
    """Wait for the end, and allow only pings before it; return the close code."""
    async with asyncio.timeout(PATIENCE):
        try:
            async for packet in socket:
                assert packet == "2", packet
        except ConnectionClosedError:
            pass  # any code but 1000 and 1001
        return socket.close_code
