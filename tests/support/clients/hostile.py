"""Beginnings of hostile connections, a client that is served beside them, and the memory of a node."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.clients.native import Client
from tests.support.processes.processes import Process

DOORS = {"native": "/ws", "socketio": "/socket.io/?EIO=4&transport=websocket"}
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def session(port: int) -> str:
    """Return the id of a new session over polling."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = (await reader.read()).decode()
    writer.close()
    return said.partition('"sid":"')[2].partition('"')[0]


@contextlib.asynccontextmanager
async def answered(bystander: Client) -> AsyncIterator[None]:
    """Check that a client's commands are answered, one after the other, for as long as a block lasts."""
    over, answers = asyncio.Event(), 0

    async def ask() -> None:
        nonlocal answers
        while not over.is_set():
            await bystander.say("room:list")
            answers += 1

    asking = asyncio.create_task(ask())
    yield
    over.set()
    await asking
    assert answers > 1


def memory(node: Process) -> int:
    """Return the KiB that a node has of the machine's memory."""
    (line,) = (
        line
        for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return int(line.split()[1])
