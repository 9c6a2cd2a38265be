"""Every close code as docs/reference/examples.md shows it: its cause, its number and its reason.

A new close code cannot be forgotten: it has no way here.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from service.protocol.close_codes import Close
from tests.support.clients.connecting import connect_frame
from tests.support.clients.native import PATIENCE, raw
from tests.support.docs.examples import CLOSED
from tests.support.docs.named_tests import not_collected
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

SLOW, FENCED = (
    "tests/unit/gateway/websocket/test_slow_peers.py",
    "tests/integration/audit/test_session_log.py",
)
ELSEWHERE = {
    Close.TOO_SLOW: f"{SLOW}::test_peer_that_does_not_read_is_closed_with_4008",
    Close.FENCED: f"{FENCED}::test_a_node_that_stood_still_too_long_is_fenced_and_goes_on_as_another",
}
"""What takes long to bring about, or a peer that reads nothing, is tried by a test of its own."""


async def met(socket: ClientConnection, expires: int = 4_000_000_000) -> None:
    await socket.send(connect_frame(token=token("alice", expires=expires)))
    assert json.loads(await socket.recv())["type"] == "connected"


async def stopped(node: Process, socket: ClientConnection) -> None:
    await met(socket)
    await node.stop()


async def expired(_node: Process, socket: ClientConnection) -> None:
    await met(socket, expires=int(time.time()) - 4)  # ONRECORD_JWT_LEEWAY is 10 s


async def flooding(_node: Process, socket: ClientConnection) -> None:
    await met(socket)
    for _ in range(200):
        await socket.send('{"type":"room:list"}')


async def silent(_node: Process, socket: ClientConnection) -> None:
    await met(socket)
    send = socket.protocol.send_frame
    # Nothing answers a ping, as of a peer that is dead.
    socket.protocol.send_frame = lambda frame: None if frame.opcode is Opcode.PONG else send(frame)  # type: ignore[method-assign]


def saying(frame: str | bytes) -> Callable[[Process, ClientConnection], Awaitable[None]]:
    async def say(_node: Process, socket: ClientConnection) -> None:
        await socket.send(frame)

    return say


def judged(action: str, body: dict[str, str]) -> Callable[[Process, ClientConnection], Awaitable[None]]:
    async def judge(node: Process, socket: ClientConnection) -> None:
        await met(socket)
        known = {"Authorization": f"Bearer {token('root', scope='admin')}"}
        async with httpx.AsyncClient(base_url=node.address, headers=known, timeout=PATIENCE) as http:
            assert (await http.post(f"/admin/people/alice/{action}", json=body)).status_code == 200

    return judge


WAYS: dict[Close, Callable[[Process, ClientConnection], Awaitable[None]]] = {
    Close.SHUTTING_DOWN: stopped,
    Close.TOKEN_EXPIRED: expired,
    Close.TOO_MANY_REQUESTS: flooding,
    Close.NO_PONG: silent,
    Close.TOKEN_NOT_YET_VALID: saying(connect_frame(token=token("alice", nbf=4_070_908_800))),
    Close.TOKEN_INVALID: saying(connect_frame()),
    Close.MALFORMED: saying("hello"),
    Close.PROTOCOL_VERSION: saying(json.dumps({"type": "connect", "protocol": 2})),
    Close.SUSPENDED: judged("suspend", {}),
    Close.ERASED: judged("erase", {"ground": "asked for"}),
    Close.TOO_LARGE: saying("x" * 200_000),
}


async def test_every_close_code_has_a_way_here_or_elsewhere() -> None:
    assert {*WAYS, *ELSEWHERE} == set(Close) == set(CLOSED)
    assert await not_collected(set(ELSEWHERE.values())) == set()


@pytest.mark.parametrize("close", WAYS)
async def test_a_connection_closes_as_the_documentation_shows(database: Database, close: Close) -> None:
    slow = {"ONRECORD_RATE_BURST": "5", "ONRECORD_RATE_PER_SECOND": "1"}
    limits = slow if close is Close.TOO_MANY_REQUESTS else {}
    pings = (
        {"ONRECORD_PING_INTERVAL": "0.3", "ONRECORD_PING_TIMEOUT": "0.3"} if close is Close.NO_PONG else {}
    )
    async with running(environment(database, **limits, **pings), "serve") as node, raw(node.url) as socket:
        await WAYS[close](node, socket)
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await socket.recv()
        assert (socket.close_code, socket.close_reason) == (close.value, CLOSED[close][1])
