"""Blocking costs the same however many users its sender has blocked, and two nodes agree about the blocks."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import uuid4

import pytest

from service.chat.blocks import AccountBlocks
from service.chat.log_budget import BudgetedAppender, LogBudget
from service.domain.commands import SetBlock
from service.domain.events import Recorded, UserBlocked
from service.domain.streams import person_stream
from service.eventstore.reader import LogReader
from service.realtime.user_cache import PAGE, UserCache
from tests.support.eventstore.log_node import Node, node
from tests.support.servers.databases import Database

MOST = 10_000


class CountingReader(LogReader):
    """Counts the events that it returns."""

    events = 0

    async def _read(self, query: str, *arguments: object) -> list[Recorded]:
        found = await super()._read(query, *arguments)
        self.events += len(found)
        return found


class Blocking:
    """One node's part: a cache, and the commands of users."""

    def __init__(self, one: Node) -> None:
        self.reader = CountingReader(one.pool, one.serializer)
        self.people = UserCache(self.reader)
        budget = LogBudget(0, lambda: 0.0)
        appender = BudgetedAppender(one.appender, budget)
        self._blocks = AccountBlocks(self.people, appender, one.serializer, MOST)

    async def set(self, user: str, *, blocked: bool = True) -> None:
        await self._blocks.set_block(SetBlock(user=user, blocked=blocked), "alice", str(uuid4()), b"frame")

    async def cost(self, user: str) -> int:
        """Return how many events it takes to block a user."""
        before = self.reader.events
        await self.set(user)
        return self.reader.events - before


@pytest.fixture
async def one(database: Database) -> AsyncIterator[Node]:
    async with node(database) as running:
        yield running


async def block_many(one: Node, users: Iterable[str]) -> None:
    events = [UserBlocked(user=user) for user in users]
    await one.append(*events, stream=person_stream("alice"), guard=())


async def test_a_block_reads_nothing_of_the_blocks_before_it(one: Node) -> None:
    await block_many(one, (f"user{number}" for number in range(1_000)))
    blocking = Blocking(one)
    assert await blocking.cost("first") >= 1_000, "the account was not in the cache"
    assert await blocking.cost("second") == 0
    assert len(blocking.people.account("alice").blocked) == 1_002
    await blocking.people.refresh({"alice"})
    assert await one.log.person("alice") == blocking.people.account("alice")


async def test_a_node_reads_of_blocks_on_another_node_what_is_new(one: Node) -> None:
    await block_many(one, (f"user{number}" for number in range(1_000)))
    here, there = Blocking(one), Blocking(one)
    await here.set("first")
    await there.set("second")
    before = here.reader.events
    await here.set("second", blocked=False)  # it does not know of that block yet
    assert here.reader.events == before + 1
    before = there.reader.events
    await there.people.refresh({"alice"})
    assert there.reader.events == before + 1
    state = await one.log.person("alice")
    assert here.people.account("alice") == there.people.account("alice") == state
    assert "second" in state.unblocked


async def test_more_than_a_page_of_news_is_read_too(one: Node) -> None:
    blocking = Blocking(one)
    await blocking.set("first")
    await block_many(one, (f"user{number}" for number in range(2 * PAGE + 1)))
    assert await blocking.people.current("alice") == await one.log.person("alice")
    assert len(blocking.people.account("alice").blocked) == 2 * PAGE + 2


async def test_blocks_at_once_on_two_nodes_all_count(one: Node) -> None:
    nodes: list[Any] = [Blocking(one), Blocking(one)]
    for number in range(10):
        await asyncio.gather(*(each.set(f"{place}-{number}") for place, each in enumerate(nodes)))
    state = await one.log.person("alice")
    assert len(state.blocked) == 20
