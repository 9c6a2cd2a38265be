"""Hostile traffic at every port and endpoint of a node: closed in time, at little memory, without effect on others.

What a node gives the slow is eight seconds (see `tests/unit/gateway`, where that is shorter, for each rule alone); here
is the whole of it, with nothing set.
"""

import asyncio
import contextlib
import struct

import pytest

from service.config.settings import Settings
from service.gateway.http.protocol import PART_SECONDS
from service.gateway.websocket.limits import Limits
from tests.support.clients.hostile import DOORS, UPGRADE, answered, memory, session
from tests.support.clients.native import client
from tests.support.clients.raw_websocket import BINARY, CONT, PING, PONG, TEXT, frame
from tests.support.environment import environment
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.servers.ports import free_ports

EACH = 10
"""Connections of each kind."""

MOST_MEMORY = 64 * 1024
"""KiB that a node may grow by while all of them are there: some 300 for each."""

POST = (
    "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
)
TEBIBYTE = bytes([0x80 | BINARY, 0xFF]) + struct.pack("!Q", 1 << 40)
FRAGMENT = frame(CONT, b"a", fin=False)


class Attack:
    """One connection: `first` is sent at once, and `again` repeatedly, `every` so many seconds."""

    def __init__(self, port: int, first: bytes = b"", again: bytes = b"", every: float = 0.2) -> None:
        self._port = port
        self._first = first
        self._again = again
        self._every = every

    async def run(self) -> None:
        """Return when the server has closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        saying = asyncio.create_task(self._say(writer))
        try:
            with contextlib.suppress(ConnectionError):
                while await reader.read(65_536):
                    pass
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._first)
        while self._again:
            await writer.drain()
            await asyncio.sleep(self._every)
            writer.write(self._again)


def test_whatever_is_slow_has_less_than_ten_seconds() -> None:
    assert max(PART_SECONDS, Limits.frame_seconds, Settings().connect_timeout) < 10


@pytest.mark.timeout(300)
async def test_hostile_connections_are_closed_without_affecting_others(
    database: Database,
) -> None:
    aside = free_ports()
    env = environment(database, ONRECORD_METRICS_PORT=str(aside), ONRECORD_HANDSHAKE_BURST="0")
    async with running(env, "serve") as node, client(node.url, "bystander") as bystander:
        port = int(node.address.rpartition(":")[2])
        attacks = [
            attack
            for one in (port, aside)
            for attack in (
                Attack(one),
                Attack(one, b"GET / HTTP/1.1\r\n", b"X-Slow: 1\r\n"),
                Attack(one, b"GET / HTTP/1.1\r\nX-Slow: ", b"a"),
                Attack(one, b"GET / HTTP/1.1\r\nX-Long: ", b"a" * 10_000, 0),
            )
        ]
        for path in DOORS.values():
            upgrade = UPGRADE.format(path=path).encode()
            attacks += [
                Attack(port, upgrade[:-2], b"X-Slow: 1\r\n"),
                Attack(port, upgrade),
                Attack(port, upgrade + frame(TEXT, b"a" * 100)[:8], b"a"),
                Attack(port, upgrade + TEBIBYTE, b"a" * 10_000, 0.05),
                Attack(port, upgrade + frame(TEXT, b"", fin=False) + FRAGMENT * 60_000),
                Attack(port, upgrade, frame(PONG) * 1000, 0.01),
                Attack(port, upgrade, frame(PING) * 1000, 0.01),
                Attack(port, upgrade, (frame(TEXT, fin=False) + frame(CONT)) * 1000, 0.01),
                Attack(port, upgrade + frame(TEXT, b"", fin=False), FRAGMENT * 100, 0.01),
                Attack(port, upgrade + frame(TEXT, b"", fin=False), frame(CONT, b"", fin=False) * 100, 0.01),
            ]
        before = memory(node)
        sessions = [await session(port) for _ in range(EACH)]
        posts = [Attack(port, POST.format(sid=sid).encode(), b"4") for sid in sessions]
        async with answered(bystander), asyncio.timeout(120):
            await asyncio.gather(*(attack.run() for attack in [*attacks * EACH, *posts]))
            assert memory(node) - before < MOST_MEMORY
        await bystander.join("general")
        assert (await bystander.post("general", "still here"))["seq"]
    assert not [line for line in node.words if '"crashed"' in line or '"task_failed"' in line]
