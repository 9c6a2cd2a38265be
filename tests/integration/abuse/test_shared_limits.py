"""Limits that are a user's hold over all connections and nodes."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import ConnectionClosed

from service.embedded import Servers
from tests.support.clients.native import Client, Refused, client
from tests.support.processes.cluster import two_nodes
from tests.support.servers.databases import Database


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
