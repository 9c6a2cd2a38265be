"""The contract's limits as they are without a setting: what is just within one passes, and one more does not.

At every door: the native one, and Socket.IO's over WebSocket and over polling. What is a user's is counted over all of
them together; over nodes, see `test_shared_limits`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.clients.native import PATIENCE
from tests.support.clients.speakers import DOORS, Ended, at
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

FRAME = 128 * 1024
FOX = "\U0001f98a"
"""One code point, four bytes."""


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
async def test_a_user_id_has_255_characters_at_most(node: Process, door: str) -> None:
    async with at(door, node, "u" * 255) as longest:
        assert await longest.say("room:list") == ""
    with pytest.raises(Ended) as ended:
        async with at(door, node, "u" * 256):
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
async def test_json_has_1000_objects_and_arrays_and_not_one_more(node: Process, door: str) -> None:
    around = (
        2 if door == "native" else 3
    )  # the command, the list of lists, and over Socket.IO the list around both
    async with at(door, node, "alice") as alice:
        frame = alice.framed("room:list", surprise=[5], text="{[" * 2_000)
        allowed, more = (frame.replace("5", ",".join(["[]"] * (n - around))) for n in (1_000, 1_001))
        assert await alice.send(allowed) == ["malformed"], "brackets in a string are text"
        with pytest.raises(Ended) as ended:
            await alice.send(more)
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
