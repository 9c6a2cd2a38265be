"""Limits that are a user's hold over all connections and nodes."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from service.embedded import Servers
from tests.support.clients.native import PATIENCE, Client, Refused, client
from tests.support.clients.speakers import DOORS, at
from tests.support.environment import environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import running
from tests.support.servers.databases import Database

SLOW = {"ONRECORD_RATE_PER_SECOND": "1", "ONRECORD_RATE_BURST": "40"}


async def _accepted(alice: Client, count: int) -> int:
    """Ask so often at once; return how many were answered."""
    answers = await asyncio.gather(*(alice.say("room:list") for _ in range(count)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert all(answer.code == "too_many_requests" for answer in refused)
    assert all(answer.error["retryable"] and answer.error["retryAfter"] > 0 for answer in refused)
    return count - len(refused)


async def test_commands_a_second_are_counted_over_two_nodes(database: Database, servers: Servers) -> None:
    settings = {"ONRECORD_RATE_PER_SECOND": "1", "ONRECORD_RATE_BURST": "60"}
    async with (
        two_nodes(database, servers, **settings) as (one, other),
        client(one.url, "alice") as here,
        client(other.url, "alice") as there,
        client(other.url, "bob") as bob,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        accepted = await _accepted(here, 55)
        await asyncio.sleep(1)  # longer than the nodes take to exchange their counts
        accepted += await _accepted(there, 55)
        assert accepted <= 60 + (loop.time() - began) + 1
        assert await _accepted(bob, 30) == 30, "others are not affected"


async def test_connections_are_counted_over_two_nodes(database: Database, servers: Servers) -> None:
    async with two_nodes(database, servers, ONRECORD_MAX_CONNECTIONS="4") as (one, other):
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(client(one.url, "alice"))
            await _until_refused(other.url, "alice", at_most=1)
            async with client(other.url, "bob"):
                pass
        # Those have ended, and the other node learns of it.
        async with asyncio.timeout(60):
            while not await _enters(other.url, "alice"):
                await asyncio.sleep(0.05)


async def _until_refused(url: str, user: str, at_most: int) -> None:
    """Open connections until one is refused: once the nodes have exchanged their counts, `at_most` are let in."""
    async with asyncio.timeout(60):
        while True:
            async with AsyncExitStack() as stack:
                entered = 0
                with pytest.raises((AssertionError, ConnectionClosed)):
                    while entered < 10:
                        await stack.enter_async_context(client(url, user))
                        entered += 1
                if entered <= at_most:
                    return
            await asyncio.sleep(0.05)


async def _enters(url: str, user: str) -> bool:
    try:
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(client(url, user))
    except (AssertionError, ConnectionClosed):
        return False
    return True


@pytest.mark.parametrize("door", DOORS)
async def test_markup_is_priced_by_its_length_and_plain_text_is_not(database: Database, door: str) -> None:
    env = environment(database, **SLOW)
    async with running(env, "serve") as node, at(door, node, "alice") as alice, at(door, node, "bob") as bob:
        for speaker, room in ((alice, "hers"), (bob, "his")):
            assert await speaker.say("room:join", roomId=room) == ""
        plain = [await bob.say("message:send", roomId="his", content="x" * 10_000) for _ in range(30)]
        assert plain == [""] * 30, "plain text costs 1"
        markup = [await alice.say("message:send", roomId="hers", content="< " * 5_000) for _ in range(8)]
        assert markup[:3] == [""] * 3, "11 each"
        assert "too_many_requests" in markup


@pytest.mark.parametrize("door", DOORS)
async def test_the_bytes_of_a_frame_are_priced(database: Database, door: str) -> None:
    async with running(environment(database, **SLOW), "serve") as node, at(door, node, "alice") as alice:
        codes = [await alice.say("room:list", surprise="x" * 120_000) for _ in range(10)]
        assert codes[:4] == ["malformed"] * 4, "8 each"
        assert "too_many_requests" in codes, "also of a frame that is no command"


async def test_an_address_has_a_rate_over_all_its_users(database: Database) -> None:
    env = environment(database, ONRECORD_ADDRESS_RATE="1", ONRECORD_ADDRESS_BURST="50")
    async with (
        running(env, "serve") as node,
        at("native", node, "alice") as alice,
        at("websocket", node, "bob") as bob,
    ):
        codes = [await each.say("room:list") for each in (alice, bob) * 20]
        assert codes == [""] * 40
        async with asyncio.timeout(PATIENCE):
            while await alice.say("room:list") == "":
                pass
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token('carol')}"}) as http:
            answers = [await http.get(f"{node.address}/api/me/rooms") for _ in range(20)]
        assert 429 in {answer.status_code for answer in answers}, "HTTP counts too"


async def test_pages_over_http_are_priced_as_commands_are(database: Database) -> None:
    async with running(environment(database, **SLOW), "serve") as node, client(node.url, "alice") as alice:
        await alice.join("general")
        headers = {"Authorization": f"Bearer {token('alice')}"}
        async with httpx.AsyncClient(headers=headers, base_url=node.address) as http:
            codes = [(await http.get("/api/rooms/general/messages?limit=200")).status_code for _ in range(30)]
        assert codes[:9] == [200] * 9, "4 each"
        assert 429 in codes


@pytest.mark.parametrize("door", DOORS)
async def test_a_user_appends_so_many_bytes_a_day_and_not_more(database: Database, door: str) -> None:
    env = environment(database, ONRECORD_LOG_BYTES_PER_DAY="30000")
    async with running(env, "serve") as node, at(door, node, "alice") as alice, at(door, node, "bob") as bob:
        for speaker in (alice, bob):
            assert await speaker.say("room:join", roomId="general") == ""
        assert await alice.say("message:send", roomId="general", content="x" * 9_000, ref="first") == ""
        codes = [await alice.say("message:send", roomId="general", content="x" * 9_000) for _ in range(9)]
        assert codes[0] == ""
        assert codes[-6:] == ["too_many_requests"] * 6
        assert await alice.say("message:send", roomId="general", content="x" * 9_000, ref="first") == "", (
            "a retry"
        )
        assert await alice.say("room:join", roomId="general") == "", "it changes nothing"
        assert await alice.say("room:list") == "", "reads are free"
        assert await bob.say("message:send", roomId="general", content="x" * 9_000) == "", (
            "others are not affected"
        )
        blocks = [await alice.say("user:block", userId=f"u-{number}") for number in range(60)]
        assert blocks[-1] == "too_many_requests", "blocks count too"
        async with httpx.AsyncClient() as http:
            metrics = (await http.get(f"{node.address}/metrics")).text
        assert metric(metrics, "onrecord_user_log_refusals_total") >= 7
        assert 18_000 < metric(metrics, "onrecord_user_log_bytes_total") < 60_000
        words = [json.loads(line) for line in node.words if line.startswith("{")]
        reached = [line for line in words if line["event"] == "log_budget_reached"]
        assert [line["user"] for line in reached] == ["alice"], "one line a user and day"


async def test_commands_in_flight_do_not_exceed_the_day(database: Database) -> None:
    env = environment(database, ONRECORD_LOG_BYTES_PER_DAY="30000")
    async with running(env, "serve") as node, client(node.url, "alice") as alice:
        await alice.join("general")
        answers: list[Any] = await asyncio.gather(
            *(alice.post("general", "x" * 5_000) for _ in range(20)), return_exceptions=True
        )
        accepted = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len(accepted) == 4, "7 kB each as stored"
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert {answer.code for answer in refused} == {"too_many_requests"}
        assert all(0 < answer.error["retryAfter"] <= 86_400 for answer in refused)


async def test_the_day_counts_over_two_nodes(database: Database, servers: Servers) -> None:
    settings = {"ONRECORD_LOG_BYTES_PER_DAY": "30000"}
    async with (
        two_nodes(database, servers, **settings) as (one, other),
        client(one.url, "alice") as here,
        client(other.url, "alice") as there,
    ):
        await here.join("general")
        for _ in range(3):
            await here.post("general", "x" * 6_000)
        async with asyncio.timeout(PATIENCE):
            while True:  # until the other node has the count; what is posted there before counts too
                try:
                    await there.post("general", "x" * 100)
                except Refused as refused:
                    assert refused.code == "too_many_requests"
                    break
        with pytest.raises(Refused):
            await here.post("general", "x" * 6_000)


def metric(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])
