"""The plain WebSocket that Autobahn's suite is run against."""

import asyncio

import uvicorn
from websockets.asyncio.client import connect

from tests.support.conformance import apps


async def test_it_sends_back_what_it_is_sent() -> None:
    server = uvicorn.Server(apps.config(*apps.APPS["echo"](), 16 * 2**20, host="127.0.0.1"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with connect(f"ws://127.0.0.1:{port}/", max_size=None) as socket:
        for message in ("", "hello", b"\x00\xff", "é" * 100_000):
            await socket.send(message)
            assert await socket.recv() == message
    server.should_exit = True
    await running
