"""CONNECT packets and sessions have a price: bad ones are cut off, good ones count, brief ones share a record."""

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from service.errors import TooManyRequests
from tests.support.clients.connecting import connect_frame
from tests.support.clients.native import client, raw
from tests.support.environment import environment, token
from tests.support.http.metrics import number, scraped
from tests.support.processes.cluster import sessions, still_open
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

MANY = 1_386
"""Sessions that a review opened and closed on one socket in five seconds."""

FEW = {"ONRECORD_SESSION_RATE": "1", "ONRECORD_SESSION_BURST": "30"}


def door(node: Process) -> str:
    return node.address.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"


async def enter(socket: ClientConnection, user: str) -> str:
    """Send a CONNECT; return `ok`, or the code of its refusal."""
    await socket.send("40" + json.dumps({"token": token(user)}))
    answer = str(await socket.recv())
    if answer.startswith("44"):
        return str(json.loads(answer[2:])["data"]["code"])
    assert str(await socket.recv()).startswith('42["connected"')
    return "ok"


@pytest.mark.parametrize("text", ["40", '40{"token":"x"}', "40/nowhere,", '40{"token":5}'])
async def test_ten_thousand_bad_connects_on_one_socket_are_cut_after_three(node: Process, text: str) -> None:
    async with connect(door(node)) as socket:
        await socket.recv()
        answers = 0
        with contextlib.suppress(ConnectionClosed):
            for _ in range(10_000):
                await socket.send(text)
        with pytest.raises(ConnectionClosed) as closed:
            while str(await socket.recv()).startswith("44"):
                answers += 1
    assert answers == 3
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4501


async def test_good_connects_between_them_do_not_make_room_for_more_bad_ones(node: Process) -> None:
    async with connect(door(node)) as socket:
        await socket.recv()
        for _ in range(3):
            await socket.send("40")
            assert str(await socket.recv()).startswith("44")
            assert await enter(socket, "alice") == "ok"
            await socket.send("41")
        await socket.send("40")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4501


async def test_bad_connects_do_not_extend_the_time_of_a_connection(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_CONNECT_TIMEOUT="1"), "serve") as node,
        connect(door(node)) as socket,
    ):
        await socket.recv()
        began = asyncio.get_running_loop().time()
        for _ in range(3):
            await asyncio.sleep(0.25)
            await socket.send("40")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4500
        assert asyncio.get_running_loop().time() - began >= 0.75, "the answers came first"


async def test_sessions_opened_and_closed_on_one_socket_are_priced(database: Database) -> None:
    async with running(environment(database, **FEW), "serve") as node:
        async with connect(door(node)) as socket:
            await socket.recv()
            opened, refusals = 0, []
            with pytest.raises(ConnectionClosed):
                for _ in range(MANY):
                    outcome = await enter(socket, "mallory")
                    if outcome == "ok":
                        opened += 1
                        await socket.send("41")
                    else:
                        refusals.append(outcome)
        assert refusals == [TooManyRequests.code] * 3
        assert 30 <= opened < 100
        async with client(node.url, "alice") as alice:
            await alice.join("general")
        numbers = await scraped(node.address)
        refused = number(numbers, "onrecord_handshakes_total", door="socketio", outcome=TooManyRequests.code)
        assert refused >= 3


async def test_sessions_of_reconnecting_sockets_are_priced(database: Database) -> None:
    async with running(environment(database, **FEW), "serve") as node:
        codes = []
        for _ in range(60):
            async with raw(node.url) as socket:
                await socket.send(connect_frame(token=token("mallory")))
                try:
                    assert json.loads(await socket.recv())["type"] == "connected"
                    codes.append(0)
                except ConnectionClosed:
                    codes.append(socket.close_code or 0)
        assert set(codes) == {0, 4009}
        assert codes[:30] == [0] * 30
        async with connect(door(node)) as other:
            await other.recv()
            assert await enter(other, "mallory") == TooManyRequests.code, "both doors count together"
            assert await enter(other, "alice") == "ok"


async def test_brief_sessions_share_a_record(node: Process, database: Database) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        last = (await alice.post("general", "for the record"))["seq"]
        async with client(node.url, "mallory") as mallory:
            await mallory.join("general")
            async with connect(door(node)) as socket:
                await socket.recv()
                for _ in range(100):
                    auth = {"token": token("mallory"), "rooms": {"general": last - 1}}
                    await socket.send("40" + json.dumps(auth))
                    while '"for the record"' not in str(await socket.recv()):
                        pass
                    await socket.send("41")
                await socket.send('40{"token":"over"}')
                while not str(await socket.recv()).startswith("44"):
                    pass
    await node.stop()
    await until(lambda: still_open(database) == 0)
    found = sessions(database, "mallory")
    opened = [event for event in found if event["type"] == "SessionOpened"]
    closed = [event for event in found if event["type"] == "SessionClosed"]
    assert len(opened) == len(closed) < 60
    groups = {event["session"] for event in opened if event.get("brief")}
    counts = [event["sessions"] for event in closed if event["session"] in groups]
    assert len(opened) - len(groups) + sum(counts) == 101
    ranges = [event["ranges"]["general"] for event in closed if event["session"] in groups]
    assert all(first <= last <= end for ((first, end),) in ranges)
    assert all(event["addresses"] == ["127.0.0.1"] for event in closed if event["session"] in groups)
