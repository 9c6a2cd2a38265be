"""2,000 connections that send one byte at a time, at every door of a node, are cut by their deadlines without effect.

`test_hostile_connections` has a few connections of many more kinds.
"""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.clients.native import Client, client
from tests.support.clients.raw_websocket import BINARY, CONT, TEXT, frame
from tests.support.clients.sign_in import signing_in
from tests.support.http.metrics import samples
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database
from tests.support.servers.oidc_provider import Grant, OidcProvider
from tests.support.servers.ports import free_ports
from tests.support.waiting import until

ALL = 2_000
FILES = 2 * ALL + 1_000
EVERY = 0.5
"""Seconds between two bytes of a connection."""

ATTACK_MEMORY = 64 * 1024
"""KiB by which the node may grow: 32 for each connection."""

KEPT_MEMORY = 32 * 1024
"""KiB that may be left when all of them are gone, in an allocator that returns few pages."""

HEAD = "{method} {path} HTTP/1.1\r\nHost: x\r\n"
WEBSOCKET = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
NATIVE, SOCKETIO = "/ws", "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
SIGN_IN = ("/signin/begin", "/signin/finish", "/signin/renew", "/signin/end")
CONNECT = '{{"type":"connect","protocol":1,"token":"{token}","rooms":{{}}}}'

Kind = tuple[bytes, bytes]
"""What is sent at once, and what follows byte by byte."""


def upgrade(path: str) -> bytes:
    return (HEAD.format(method="GET", path=path) + WEBSOCKET + "\r\n").encode()


def request(path: str, *, sent: bytes = b"") -> bytes:
    head = HEAD.format(method="POST", path=path)
    return f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode() + sent


def drip(size: int = 1_000) -> bytes:
    return b"a" * size


def access(provider: OidcProvider, user: str) -> str:
    return str(provider._tokens(Grant({}, user, 0), None)["access_token"])


def kinds(number: int, sids: tuple[str, str], user: str) -> dict[str, Kind]:
    """Return the connections of one user (by its token) and two sessions, by the door's name."""
    whole = frame(TEXT, CONNECT.format(token=user).encode())
    text = frame(TEXT, drip())
    route = SIGN_IN[number % len(SIGN_IN)]
    return {
        "nothing": (b"", b""),
        "HTTP head": (b"", (HEAD.format(method="GET", path="/healthz") + "X-Slow: ").encode() + drip()),
        "HTTP body": (request("/api/rooms"), drip()),
        "HTTP chunks": (
            HEAD.format(method="POST", path=POLLING + f"&sid={sids[0]}").encode()
            + b"Transfer-Encoding: chunked\r\n\r\n",
            b"1\r\n4\r\n" * 200,
        ),
        "upgrade": (b"", upgrade(NATIVE)[:-2] + b"X-Slow: " + drip()),
        "upgrade of Socket.IO": (b"", upgrade(SOCKETIO)[:-2] + b"X-Slow: " + drip()),
        "frame before connect": (upgrade(NATIVE), text),
        "frame of Socket.IO before CONNECT": (upgrade(SOCKETIO), text),
        "fragments before connect": (
            upgrade(NATIVE) + frame(TEXT, b"", fin=False),
            frame(CONT, b"a", fin=False) * 200,
        ),
        "connect itself": (upgrade(NATIVE), whole),
        "frame after connect": (upgrade(NATIVE) + whole, text),
        "attachment after connect": (
            upgrade(SOCKETIO) + frame(TEXT, f'40{{"token":"{user}","protocol":1,"rooms":{{}}}}'.encode()),
            frame(BINARY, drip()),
        ),
        "polling POST": (request(POLLING + f"&sid={sids[1]}", sent=b"4"), drip()),
        "sign-in head": (b"", HEAD.format(method="POST", path=route).encode() + b"X-Slow: " + drip()),
        "sign-in body": (request(route, sent=b"{"), drip()),
    }


class Slow(asyncio.Protocol):
    """One connection; it reads what it is sent, and `lost` is done when the server has closed."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self._first, self._rest = kind
        self._sent = 0
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._first)

    def eof_received(self) -> None:
        """Close too."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        if not self.lost.done():
            self.lost.set_result(None)

    def step(self) -> None:
        """Send the next byte."""
        if not self.lost.done() and self._sent < len(self._rest):
            self.transport.write(self._rest[self._sent : self._sent + 1])
            self._sent += 1


@contextlib.asynccontextmanager
async def posting(member: Client) -> AsyncIterator[list[int]]:
    """Let a member post, one message after the other, for as long as a block lasts."""
    over, posted = asyncio.Event(), [0]

    async def post() -> None:
        while not over.is_set():
            await member.post("lobby", "still here")
            posted[0] += 1

    task = asyncio.create_task(post())
    try:
        yield posted
    finally:
        over.set()
        await task


async def held(metrics: httpx.AsyncClient) -> tuple[float, float]:
    """Return the bytes of clients without an identity, which include this request's, and the connections."""
    found = samples((await metrics.get("/metrics")).content)
    connections = sum(value for (name, _), value in found.items() if name == "onrecord_connections")
    return found["onrecord_unauthenticated_bytes", frozenset()], connections


def memory(node: Process) -> int:
    """Return the KiB of a node's memory."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def files(node: Process) -> int:
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


@pytest.fixture
def many_files() -> Iterator[None]:
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FILES:
        pytest.skip(f"{FILES} open files are not permitted")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(usual, FILES), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


async def sessions(http: httpx.AsyncClient, count: int) -> list[str]:
    answers = [(await http.get(POLLING)).text for _ in range(count)]
    return [answer.partition('"sid":"')[2].partition('"')[0] for answer in answers]


async def run(slow: list[Slow]) -> None:
    """Send one byte on each connection again and again, until the server has closed all of them."""
    ended = asyncio.gather(*(one.lost for one in slow))
    while not ended.done():
        for one in slow:
            one.step()
        await asyncio.wait([ended], timeout=EVERY)


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("many_files")
async def test_two_thousand_slow_connections_leave_a_node_serving(database: Database) -> None:
    aside = free_ports()
    extra = {
        "ONRECORD_HANDSHAKE_BURST": "0", "ONRECORD_METRICS_PORT": str(aside), "ONRECORD_CONNECT_TIMEOUT": "8",
    }  # fmt: skip
    async with (
        signing_in(database, extra) as (node, provider),
        client(node.url, "member", token=access(provider, "member")) as member,
        httpx.AsyncClient(base_url=node.address) as http,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{aside}", timeout=60) as metrics,
    ):
        _, most_files = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (FILES, most_files))
        await member.join("lobby")
        await member.post("lobby", "hello")
        quiet = await held(metrics)
        assert quiet[1] == 1
        each = ALL // len(kinds(0, ("", ""), "")) + 1
        sids = await sessions(http, 2 * each)
        before, opened = memory(node), files(node)
        pairs = zip(sids[::2], sids[1::2], strict=True)
        attacks = [
            entry
            for number, pair in enumerate(pairs)
            for entry in kinds(number, pair, access(provider, f"slow-{number}")).items()
        ]
        async with posting(member) as posted:
            loop, port = asyncio.get_running_loop(), int(node.address.rpartition(":")[2])
            slow = [
                (await loop.create_connection(lambda a=a: Slow(*a), "127.0.0.1", port))[1]  # type: ignore[misc]
                for a in attacks
            ]
            assert len(slow) >= ALL
            at_start = posted[0]
            running = asyncio.create_task(run(slow))
            await until(lambda: posted[0] > at_start + 3)
            grown = 0
            while not running.done():
                grown = max(grown, memory(node) - before)
                await asyncio.wait([running], timeout=EVERY)
            during = posted[0] - at_start
        assert during > 3
        await until(lambda: files(node) <= opened)

        async def nothing_is_held() -> bool:
            return await held(metrics) == quiet

        await until(nothing_is_held)
        assert (await http.get("/readyz")).status_code == 200
        assert (await member.post("lobby", "after")).get("seq")
        assert grown <= ATTACK_MEMORY
        assert memory(node) - before <= KEPT_MEMORY
