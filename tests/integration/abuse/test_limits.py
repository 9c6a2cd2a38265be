"""The contract's limits as they are without a setting: what is just within one passes, and one more does not.

At every door: the native one, and Socket.IO's over WebSocket and over polling. What is a user's is counted over all of
them together; over nodes, see `test_shared_limits`.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients.native import PATIENCE
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

FRAME = 128 * 1024
DOORS = ["native", "websocket", "polling"]
FOX = "\U0001f98a"
"""One code point, four bytes."""

Write = Callable[[Sequence[str]], Awaitable[None]]
Read = Callable[[], Awaitable[str]]


class Ended(Exception):
    """The server ended the connection, or did not let it in: with the code, where there is one."""


class Speaker:
    """One connection at some door, which says what a test wants letter for letter."""

    def __init__(self, write: Write, read: Read, *, native: bool) -> None:
        self._write = write
        self._read = read
        self._native = native
        self._refs = itertools.count()

    def framed(self, command: str, **fields: object) -> str:
        """Return a command in the encoding of this endpoint."""
        said = {"ref": f"ref-{next(self._refs)}", **fields}
        if self._native:
            return json.dumps({"type": command, **said}, ensure_ascii=False)
        return "421" + json.dumps([command, said], ensure_ascii=False)

    async def send(self, *texts: str) -> list[str]:
        """Send frames; return the code of each answer that is an error, and nothing for each ack."""
        await self._write(texts)
        async with asyncio.timeout(PATIENCE):
            return [await self._answer() for _ in texts]

    async def say(self, command: str, **fields: object) -> str:
        """Say a command; return the code of its error, or nothing."""
        return (await self.send(self.framed(command, **fields)))[0]

    async def _answer(self) -> str:
        while True:
            said = await self._read()
            if self._native:
                answer = json.loads(said)
                if answer["type"] in ("ack", "error"):
                    return str(answer.get("code", ""))
            elif said.startswith("431"):
                (answer,) = json.loads(said[3:])
                return "" if answer["ok"] else str(answer["error"]["code"])


@asynccontextmanager
async def at(
    door: str, node: Process, user: str, rooms: dict[str, int] | None = None
) -> AsyncIterator[Speaker]:
    """Enter at a door.

    Raises:
        Ended: one is not let in.
    """
    auth = {"token": token(user), "rooms": rooms or {}}
    enter = {"native": native, "websocket": websocket, "polling": polling}[door]
    async with enter(node, auth) as speaker:
        yield speaker


@asynccontextmanager
async def native(node: Process, auth: dict[str, Any]) -> AsyncIterator[Speaker]:
    async with connect(node.url, max_size=None) as socket:
        write, read = over(socket)
        await write([json.dumps({"type": "connect", "protocol": 1, **auth})])
        first = json.loads(await read())
        if first["type"] != "connected":
            raise Ended(first["code"])
        yield Speaker(write, read, native=True)


@asynccontextmanager
async def websocket(node: Process, auth: dict[str, Any]) -> AsyncIterator[Speaker]:
    url = node.address.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with connect(url, max_size=None) as socket:
        write, read = over(socket)
        await read()
        await enter(write, read, auth)
        yield Speaker(write, read, native=False)


@asynccontextmanager
async def polling(node: Process, auth: dict[str, Any]) -> AsyncIterator[Speaker]:
    query = {"EIO": "4", "transport": "polling"}
    waiting: list[str] = []

    async def read() -> str:
        while not waiting:
            answer = await http.get("", params=query)
            if answer.status_code != 200 or answer.text == "1":
                raise Ended(answer.status_code)
            waiting.extend(answer.text.split("\x1e"))
        return waiting.pop(0)

    async def write(texts: Sequence[str]) -> None:
        answer = await http.post("", params=query, content="\x1e".join(texts).encode())
        if answer.status_code != 200:
            raise Ended(answer.status_code)

    async with httpx.AsyncClient(base_url=f"{node.address}/socket.io/", timeout=PATIENCE) as http:
        query["sid"] = json.loads((await read())[1:])["sid"]
        await enter(write, read, auth)
        yield Speaker(write, read, native=False)
        await http.post("", params=query, content="1")


async def enter(write: Write, read: Read, auth: dict[str, Any]) -> None:
    await write(["40" + json.dumps(auth)])
    answer = await read()
    if answer.startswith("44"):
        raise Ended(json.loads(answer[2:])["data"]["code"])


def over(socket: Any) -> tuple[Write, Read]:
    async def read() -> str:
        try:
            return str(await socket.recv())
        except ConnectionClosed as closed:
            raise Ended(closed.rcvd.code if closed.rcvd else None) from closed

    async def write(texts: Sequence[str]) -> None:
        for text in texts:
            await socket.send(text)

    return write, read


@pytest.fixture
async def strict(database: Database) -> AsyncIterator[Process]:
    """A node with the default limits."""
    env = environment(database)
    del env["ONRECORD_RATE_BURST"], env["ONRECORD_MAX_CONNECTIONS"], env["ONRECORD_ADDS_PER_HOUR"]
    async with running(env, "serve") as node:
        yield node


@pytest.mark.parametrize("door", DOORS)
async def test_what_one_command_may_hold(node: Process, door: str) -> None:
    async with at(door, node, "alice") as alice:
        assert await alice.say("room:join", roomId="general") == ""
        for text, code in (
            ("", "empty_message"),
            ("x", ""),
            ("x" * 10_000, ""),
            ("x" * 10_001, "message_too_long"),
            (FOX * 10_000, ""),
            (FOX * 10_001, "message_too_long"),
        ):
            assert await alice.say("message:send", roomId="general", content=text) == code, len(text)
        for name in ("r" * 64, "r"):
            assert await alice.say("room:join", roomId=name) == ""
            assert await alice.say("message:send", ref=name, roomId="general", content="x") == ""
        for name in ("r" * 65, ""):
            assert await alice.say("room:join", roomId=name) == "malformed"
            assert await alice.say("message:send", ref=name, roomId="general", content="x") == "malformed"


@pytest.mark.parametrize("door", DOORS)
async def test_a_user_id_has_128_characters_at_most(node: Process, door: str) -> None:
    async with at(door, node, "u" * 128) as longest:
        assert await longest.say("room:list") == ""
    with pytest.raises(Ended) as ended:
        async with at(door, node, "u" * 129):
            pass
    assert ended.value.args[0] in (4500, "token_invalid")


@pytest.mark.parametrize("character", ["x", FOX], ids=["ascii", "four bytes"])
@pytest.mark.parametrize("door", DOORS)
async def test_a_frame_has_128_kib_and_not_one_byte_more(node: Process, door: str, character: str) -> None:
    most = character * (100_000 // len(character.encode()))
    async with at(door, node, "bob") as bob, at(door, node, "alice") as alice:
        said = alice.framed("message:send", roomId="general", content=most)
        space = FRAME - len(said.encode())
        whole = said[:-1] + " " * space + said[-1]
        assert await alice.send(whole) == ["message_too_long"], "it is looked at"
        with pytest.raises(Ended) as ended:
            await alice.send(whole[:-1] + " " + whole[-1])
        assert ended.value.args[0] in (1009, 413)
        assert await bob.say("room:list") == "", "nobody else notices"


@pytest.mark.parametrize("door", DOORS)
async def test_json_nests_32_deep_and_not_deeper(node: Process, door: str) -> None:
    around = 1 if door == "native" else 2  # the command, and at Socket.IO's door the list that it is in
    async with at(door, node, "alice") as alice:
        said = alice.framed("room:list", surprise=5)
        allowed, deeper = (said.replace("5", "[" * (n - around) + "]" * (n - around)) for n in (32, 33))
        assert await alice.send(allowed) == ["malformed"], "for what it says"
        with pytest.raises(Ended) as ended:
            await alice.send(deeper)
        assert ended.value.args[0] in (4501, 400)


@pytest.mark.parametrize("door", DOORS)
async def test_a_connection_hears_100_rooms_and_not_one_more(node: Process, door: str) -> None:
    rooms = {f"room-{number}": 0 for number in range(100)}
    async with at(door, node, "alice", rooms=dict(list(rooms.items())[:1])) as alice:
        for room in rooms:
            assert await alice.say("room:join", roomId=room) == "", room
        assert await alice.say("room:join", roomId="one-more") == "too_many_rooms"
        assert await alice.say("room:join", roomId="room-7") == "", "those that it hears it may join again"
    async with at(door, node, "alice", rooms=rooms) as alice:
        assert await alice.say("room:list") == ""
    with pytest.raises(Ended) as ended:
        async with at(door, node, "alice", rooms={**rooms, "one-more": 0}):
            pass
    assert ended.value.args == ("too_many_rooms",)


@pytest.mark.parametrize("door", DOORS)
async def test_a_user_adds_100_people_an_hour_at_every_door_and_not_one_more(
    strict: Process, door: str
) -> None:
    people = [f"person-{number}" for number in range(100)]
    async with at(door, strict, "mallory") as mallory:
        assert await mallory.say("room:create", name="All", members=people[:60], ref="first") == ""
        assert await mallory.say("room:create", name="All", members=people[:60], ref="first") == "", "a retry"
        assert await mallory.say("room:create", name="More", members=people[:60]) == "too_many_requests"
        assert await mallory.say("room:create", name="Rest", members=people[:40]) == ""
        assert await mallory.say("room:create", name="More", members=people[:20]) == "too_many_requests"
        assert await mallory.say("room:create", name="Mine") == "", "a room without others costs nothing"
    async with at(door, strict, "bob") as bob:
        assert await bob.say("room:create", name="Bob's", members=people[:2]) == "", (
            "each has a price of their own"
        )


@pytest.mark.parametrize("door", DOORS)
async def test_a_user_blocks_so_many_and_not_one_more(database: Database, door: str) -> None:
    async with (
        running(environment(database, ONRECORD_MAX_BLOCKS="3"), "serve") as node,
        at(door, node, "alice") as alice,
    ):
        assert await alice.say("user:block", userId="alice") == "not_allowed", "not oneself"
        for user in ("a", "b", "c"):
            assert await alice.say("user:block", userId=user) == ""
        assert await alice.say("user:block", userId="d") == "not_allowed"
        assert await alice.say("user:block", userId="c") == "", "blocked already"
        assert await alice.say("user:unblock", userId="c") == ""
        assert await alice.say("user:block", userId="d") == "not_allowed", "those unblocked since count"
        assert await alice.say("user:block", userId="c") == ""
        assert await alice.say("user:unblock", userId="d") == "", "it is not blocked"


async def test_a_user_has_10_connections_over_all_doors_and_not_one_more(strict: Process) -> None:
    async with AsyncExitStack() as stack:
        for number in range(10):
            await stack.enter_async_context(at(DOORS[number % 3], strict, "alice"))
        for door in DOORS:
            with pytest.raises(Ended) as ended:
                async with at(door, strict, "alice"):
                    pass
            assert ended.value.args[0] in (4009, "too_many_requests")
            async with at(door, strict, "bob") as bob:
                assert await bob.say("room:list") == ""


async def test_user_rate_is_40_at_once_then_20_a_second_over_all_endpoints(strict: Process) -> None:
    async with AsyncExitStack() as stack:
        doors = [await stack.enter_async_context(at(door, strict, "alice")) for door in DOORS]
        bob = await stack.enter_async_context(at("native", strict, "bob"))
        began = time.monotonic()
        codes = [await doors[number % 3].say("room:list") for number in range(40)]
        assert codes == [""] * 40, "a burst is let through"
        async with asyncio.timeout(PATIENCE):
            while "too_many_requests" not in codes:
                for one in doors:
                    codes += await one.send(*(one.framed("room:list") for _ in range(30)))
        assert set(codes) == {"", "too_many_requests"}
        assert codes.count("") <= 40 + 20 * (time.monotonic() - began) + 1
        assert await bob.send(*(bob.framed("room:list") for _ in range(40))) == [""] * 40, (
            "others are not affected"
        )
