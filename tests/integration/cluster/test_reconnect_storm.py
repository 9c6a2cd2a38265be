"""A reconnect storm, by counts: what those who come back ask of the database, one alone and a crowd at once."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection, connect

from projections import read_receipts
from projections.engine import rows
from service.cluster import session_log
from service.domain.events import MemberJoined, RoomOpened
from service.domain.streams import room_stream
from service.encryption import keyring
from service.eventstore import reader
from service.runtime.cell_rate import CONTROLS
from tests.support.clients.native import client
from tests.support.environment import environment, token
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, Node, message, node
from tests.support.processes.statement_counts import Counted, counted_node
from tests.support.servers.databases import Database
from tests.support.waiting import until

PEOPLE = 300
ROOMS = ("one", "other")
SAID = 40
HEAD = 1 + PEOPLE + SAID
BACK = 20
"""How far the oldest cursor is behind the head."""

READINGS = 6
"""Of a room: each goes back as far again as those before it, and the first at least by one event."""

IN_LINE = 20
"""Who may wait for one of the two connections at once: the gatherers and a node's own tasks, however many come."""

ASKED = {
    "people": reader._ACCOUNTS,
    "rooms": reader._ROOM,
    "receipts": rows._OF_ROOMS.format(relation=read_receipts.PROJECTION.relation).replace(":rooms", "$1"),
    "events": reader._STREAM,
    "deleted": reader._DELETED,
    "keys": keyring._GET_OR_CREATE,
    "sessions": session_log._INSERT_OPEN,
}
"""What an arrival may ask."""


def asked(at: Counted) -> dict[str, int]:
    """Return how often what was asked."""
    return {what: count for what, query in ASKED.items() if (count := at.statements.of(query))}


async def fill(one: Node) -> None:
    """Record rooms with all users as members and some messages."""
    for room in ROOMS:
        stream = room_stream(room)
        joined = [MemberJoined(user=f"user{number}", role="owner") for number in range(PEOPLE)]
        await one.append(RoomOpened(name="Room"), *joined, stream=stream, by="user0")
        for number in range(SAID):
            said = message(f"message {number}", author="user0")
            placed = await one.append(said, stream=stream, by="user0", guard=())
            assert placed.seq == HEAD - SAID + 1 + number


@pytest.fixture
async def restarted(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counted]:
    """A node that has just begun, on a log in which there is something already."""
    async with node(database) as before:
        await fill(before)
    many = {"ONRECORD_HANDSHAKE_RATE": "100000", "ONRECORD_HANDSHAKE_BURST": "100000"}
    key = base64.b64encode(KEY_ENCRYPTION_KEY).decode()
    env = environment(database, ONRECORD_KEY_ENCRYPTION_KEY=key, ONRECORD_POOL_SIZE="2", **many)
    async with counted_node(env, monkeypatch) as at:
        await until(lambda: at.node.storage.readiness.ready)
        at.statements.clear()
        yield at


async def recorded(at: Counted, sessions: int) -> None:
    """Wait until so many sessions more are on the record."""
    entries = at.node.live.appender.outcomes
    await until(lambda: entries["appended"] >= sessions)


Arrive = Callable[[Counted, AsyncExitStack, str, dict[str, int | None], str | None], Awaitable[list[int]]]


async def by_native(
    at: Counted, stack: AsyncExitStack, user: str, rooms: dict[str, int | None], name: str | None
) -> list[int]:
    """Come back; return what of all rooms was sent, once that is everything."""
    one = await stack.enter_async_context(client(at.url, user, rooms, name=name))
    await one.until(lambda: all(HEAD in one.seqs(room) for room in rooms))
    return [seq for room in rooms for seq in one.seqs(room)]


async def by_socketio(
    at: Counted, stack: AsyncExitStack, user: str, rooms: dict[str, int | None], name: str | None
) -> list[int]:
    """The same at the other door."""
    address = at.address.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    socket: ClientConnection = await stack.enter_async_context(connect(address, ping_interval=None))
    told = token(user, name=name) if name else token(user)
    await socket.send("40" + json.dumps({"token": told, "rooms": rooms}))
    heard: dict[str, list[int]] = {room: [] for room in rooms}
    while not all(HEAD in seqs for seqs in heard.values()):
        text = str(await socket.recv())
        if text.startswith("42") and "seq" in (event := json.loads(text[2:])[1]):
            heard[event["roomId"]].append(event["seq"])
    return [seq for seqs in heard.values() for seq in seqs]


@pytest.mark.parametrize("arrive", [by_native, by_socketio])
async def test_one_who_comes_back_asks_for_what_is_not_known_and_no_more(
    restarted: Counted, arrive: Arrive
) -> None:
    async with AsyncExitStack() as stack:
        assert await arrive(restarted, stack, "user1", {"one": HEAD - 5}, None) == [
            *range(HEAD - 4, HEAD + 1)
        ]
        await recorded(restarted, 1)
        first = asked(restarted)
        # The author of the missed messages is not in the user cache either.
        assert first.pop("people") == 2
        assert first == dict.fromkeys(["rooms", "receipts", "events", "deleted", "keys", "sessions"], 1)
        restarted.statements.clear()
        await arrive(restarted, stack, "user1", {"one": HEAD - 5}, None)
        await recorded(restarted, 2)
        assert asked(restarted) == {"receipts": 1, "sessions": 1}


@pytest.mark.parametrize("name", [None, "Somebody"])
@pytest.mark.parametrize("arrive", [by_native, by_socketio])
async def test_a_crowd_that_comes_back_at_once_asks_a_few_times_for_all(
    restarted: Counted, arrive: Arrive, name: str | None
) -> None:
    async with AsyncExitStack() as stack:
        bystander = await stack.enter_async_context(client(restarted.url, "user0"))
        answered: list[float] = []
        beats = asyncio.create_task(_heartbeats(bystander.socket, answered))
        async with asyncio.TaskGroup() as coming:
            for number in range(PEOPLE):
                after = HEAD - 1 - number % BACK
                rooms: dict[str, int | None] = dict.fromkeys(ROOMS, after)
                arriving = arrive(restarted, stack, f"user{number}", rooms, name)
                coming.create_task(_expect(arriving, [*range(after + 1, HEAD + 1)] * len(ROOMS)))
        assert answered
        assert not beats.done(), "the bystander was cut off"
        beats.cancel()
        await recorded(restarted, PEOPLE + 1 + (PEOPLE if name else 0))
        found = asked(restarted)
    assert found.pop("rooms") == len(ROOMS)
    assert found.pop("events") <= READINGS * len(ROOMS)
    assert found.pop("deleted") <= READINGS * len(ROOMS)
    assert sum(found.values()) < PEOPLE / 2, found
    assert restarted.statements.most_waiting <= IN_LINE


async def _expect(arriving: Awaitable[list[int]], seqs: list[int]) -> None:
    assert await arriving == seqs


async def _heartbeats(socket: ClientConnection, answered: list[float]) -> None:
    """Ask for a sign of life again and again, and keep how long each took; without a rest that would be a flood."""
    while True:
        answered.append(await (await socket.ping()))
        await asyncio.sleep(1 / CONTROLS.per_second)
