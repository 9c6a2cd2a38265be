"""Unfinished input of connections without an identified client takes a bounded part of the memory."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.clients.hostile import DOORS, UPGRADE, answered, memory, session
from tests.support.clients.native import client
from tests.support.clients.raw_websocket import TEXT, frame
from tests.support.environment import environment, token
from tests.support.http.metrics import number, scraped, scraped_until
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

COUNT = 500
BODY = 999_000
PIECE = b"4" * 65_536

TOTAL, MARGIN = 64 * 1024, 48 * 1024
"""KiB: the default of `ONRECORD_UNAUTHENTICATED_BYTES`, and what 500 connections take besides."""

POLLING = "/socket.io/?EIO=4&transport=polling"
PROXIES = {"ONRECORD_TRUSTED_PROXIES": "127.0.0.1", "ONRECORD_HANDSHAKE_BURST": "0"}


def post(path: str, size: int = BODY) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


def forwarded(head: bytes, address: str) -> bytes:
    return head.replace(b"\r\n", f"\r\nX-Forwarded-For: {address}\r\n".encode(), 1)


def peak(node: Process) -> int:
    """Return the most KiB that a node has had of the machine's memory since `memory_from_here`."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def memory_from_here(node: Process) -> int:
    Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
    return memory(node)


async def flood(port: int, first: bytes, size: int) -> bytes:
    """Send a beginning and all but one of so many bytes; return what the server answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                received.extend(data)

    reading = asyncio.create_task(read())
    with contextlib.suppress(ConnectionError):
        writer.write(first)
        left = size - 1
        while left > 0 and not reading.done():
            writer.write(PIECE[:left])
            left -= len(PIECE)
            await writer.drain()
    await reading
    writer.close()
    return bytes(received)


async def port_of(node: Process) -> int:
    return int(node.address.rpartition(":")[2])


Beginning = Callable[[int], bytes]
"""The first bytes of a connection, by its number."""

WAYS: dict[str, tuple[Beginning, int]] = {
    "the demo sign-in": (lambda _: post("/dev/token"), BODY),
    "the sign-in": (lambda _: post("/signin/finish"), BODY),
    "an action": (lambda _: post("/api/users/alice/suspend"), BODY),
    "a read with a body": (lambda _: post("/api/rooms").replace(b"POST", b"GET"), BODY),
    "no route": (lambda _: post("/nowhere"), BODY),
    "a head": (lambda _: b"GET / HTTP/1.1\r\nX-Long: ", 60_000),
    "a frame at the native door": (
        lambda _: UPGRADE.format(path=DOORS["native"]).encode() + frame(TEXT, b"x" * 120_000)[:10], 120_000,
    ),
    "a frame at the Socket.IO door": (
        lambda _: UPGRADE.format(path=DOORS["socketio"]).encode() + frame(TEXT, b"x" * 120_000)[:10], 120_000,
    ),
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("addresses", [1, 250])
async def test_500_unfinished_polling_posts_leave_the_node_small(database: Database, addresses: int) -> None:
    settings = PROXIES if addresses > 1 else {"ONRECORD_HANDSHAKE_BURST": "0"}
    async with (
        running(environment(database, **settings), "serve") as node,
        client(node.url, "bystander") as bystander,
    ):
        port = await port_of(node)
        sids = await asyncio.gather(*(session(port) for _ in range(COUNT)))
        heads = [post(f"{POLLING}&sid={sid}") for sid in sids]
        if addresses > 1:
            heads = [forwarded(head, f"192.0.2.{number % addresses}") for number, head in enumerate(heads)]
        before = memory_from_here(node)
        async with answered(bystander), asyncio.timeout(120):
            answers = await asyncio.gather(*(flood(port, head, BODY) for head in heads))
        assert peak(node) - before < TOTAL + MARGIN
        # 400: the session's time to connect was over before its post.
        assert {answer[:13] for answer in answers if answer} <= {
            b"HTTP/1.1 413 ",
            b"HTTP/1.1 503 ",
            b"HTTP/1.1 400 ",
        }
        numbers = await scraped_until(
            node.address, lambda found: not number(found, "onrecord_unauthenticated_bytes") > 10_000
        )
        assert number(numbers, "onrecord_ready") == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
async def test_500_unfinished_inputs_of_any_kind_leave_the_node_small(database: Database, way: str) -> None:
    first, size = WAYS[way]
    env = environment(database, **PROXIES)
    async with running(env, "serve") as node, client(node.url, "bystander") as bystander:
        port = await port_of(node)
        before = memory_from_here(node)
        heads = [forwarded(first(number), f"192.0.2.{number % 250}") for number in range(COUNT)]
        async with answered(bystander), asyncio.timeout(120):
            await asyncio.gather(*(flood(port, head, size) for head in heads))
            async with client(node.url, "newcomer"):
                pass
        assert peak(node) - before < TOTAL + MARGIN


async def test_a_body_before_connect_has_4_kib_and_a_connect_what_it_needs(
    node: Process,
) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:

        async def answer(body: str) -> int:
            sid = (await http.get(POLLING)).text.partition('"sid":"')[2].partition('"')[0]
            answered = await http.post(f"{POLLING}&sid={sid}", content=body)
            return answered.status_code

        ping = "3" + "x" * 4_095
        assert await answer(ping) == 400, "no packet, but read"
        assert await answer(ping + "x") == 413
        rooms = ",".join(f'"{"r" * 60}{room:03}":{2**53 - 1}' for room in range(100))
        connect = f'40{{"token":"{token("alice")}","rooms":{{{rooms}}}}}'
        assert len(connect) > 8_000
        assert await answer(connect) == 200
        assert await answer("40" + "x" * 64_000) == 413


async def test_whoever_has_connected_may_post_as_much_as_ever(database: Database) -> None:
    env = environment(database, ONRECORD_UNAUTHENTICATED_BYTES="65536")
    async with running(env, "serve") as node, httpx.AsyncClient(base_url=node.address) as http:
        sid = (await http.get(POLLING)).text.partition('"sid":"')[2].partition('"')[0]
        url = f"{POLLING}&sid={sid}"
        assert (await http.post(url, content=f'40{{"token":"{token("alice")}"}}')).status_code == 200
        assert '"connected"' in (await http.get(url)).text
        command = '42["typing:start",{"roomId":"' + "x" * 100_000 + '"}]'
        assert (await http.post(url, content="\x1e".join([command] * 9))).status_code == 200
        assert number(await scraped(node.address), "onrecord_unauthenticated_refused_total") == 0
