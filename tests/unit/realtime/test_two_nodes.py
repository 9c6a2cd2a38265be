"""Two nodes in one process, over a real log and the in-process bus: one order, received completely on both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.cluster.bus import InProcessBus
from service.domain.commands import JoinRoom, LeaveRoom, PostMessage
from service.node.node import Node, node
from tests.support.realtime.nodes import Recorder, settings, submit
from tests.support.servers.databases import Database
from tests.support.waiting import until


@asynccontextmanager
async def two_nodes(database: Database, *, apart: bool) -> AsyncIterator[tuple[Node, Node]]:
    """Give two nodes, on one bus or `apart`, each on its own."""
    bus = InProcessBus()
    async with (
        node(settings(database), bus) as one,
        node(settings(database), None if apart else bus) as other,
    ):
        yield one, other


async def post(running: Node, user: str, number: int) -> int:
    ref = f"{user}-{number}"
    return await submit(running, PostMessage(room="hot", content=ref, ref=ref), user, ref)


async def test_a_hot_room_shared_by_two_nodes_has_one_order_and_no_conflict(database: Database) -> None:
    async with two_nodes(database, apart=False) as nodes:
        subscribers = []
        for number, running in enumerate(nodes):
            user = f"user{number}"
            await submit(running, JoinRoom(room="hot", create=True), user, f"join-{user}")
            subscribers.append(Recorder(user))
            await running.live.hub.subscriptions.subscribe(subscribers[-1], "hot", 0)
        seqs = await asyncio.gather(
            *(post(running, f"user{number}", i) for i in range(300) for number, running in enumerate(nodes))
        )
        assert sorted(seqs) == list(range(4, 604))
        await until(lambda: all(len(subscriber.frames) == 603 for subscriber in subscribers))
        for subscriber in subscribers:
            assert subscriber.seqs == list(range(1, 604))


async def test_nodes_without_a_bus_between_them_still_have_one_order(database: Database) -> None:
    async with two_nodes(database, apart=True) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "a")
        subscriber = Recorder("alice")
        await one.live.hub.subscriptions.subscribe(subscriber, "hot", 0)
        await submit(other, JoinRoom(room="hot"), "bob", "b")
        for number in range(50):
            await post(other, "bob", number)
        # What this node appends brings the rows it lacks along.
        last = await post(one, "alice", 0)
        await until(lambda: len(subscriber.frames) == last)
        assert subscriber.seqs == list(range(1, last + 1))


@pytest.mark.parametrize("apart", [False, True])
async def test_a_retry_on_the_other_node_has_one_effect(database: Database, *, apart: bool) -> None:
    async with two_nodes(database, apart=apart) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "join")
        first = await asyncio.gather(post(one, "alice", 1), post(other, "alice", 1))
        assert first[0] == first[1]
        assert await one.storage.reader.head("room:hot") == first[0]


async def test_a_member_who_left_on_another_node_is_taken_out(database: Database) -> None:
    async with two_nodes(database, apart=False) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "a")
        await submit(one, JoinRoom(room="hot"), "bob", "b")
        subscriber = Recorder("bob")
        await one.live.hub.subscriptions.subscribe(subscriber, "hot", 0)
        left = await submit(other, LeaveRoom(room="hot"), "bob", "leave")
        await post(one, "alice", 1)
        await until(lambda: subscriber.out)
        assert subscriber.seqs == list(range(1, left + 1))


async def test_a_refusal_on_an_old_state_is_decided_again(database: Database) -> None:
    async with two_nodes(database, apart=True) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "a")
        await other.live.hub.feeds.feed("hot")
        await submit(one, JoinRoom(room="hot"), "bob", "b")
        # The other node does not know yet that bob is a member, and must not refuse him.
        assert await post(other, "bob", 1) == 4
