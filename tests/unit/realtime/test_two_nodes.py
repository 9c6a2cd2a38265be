"""Two nodes in one process, over a real log and the in-process bus: one order, heard whole on both."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.cluster.bus import InProcessBus
from service.config.settings import Settings
from service.domain.commands import JoinRoom, LeaveRoom, PostMessage
from service.gateway.services import Services
from service.node.node import node
from service.realtime.direct_sockets import NOWHERE
from tests.support.processes.processes import KEY_ENCRYPTION_KEY, SECRET
from tests.support.servers.databases import Database


class Ear:
    """A listener that remembers the frames it was sent."""

    wire_format = "native"
    descriptor = NOWHERE
    closing = False

    def __init__(self, user: str) -> None:
        self.user = user
        self.turn = asyncio.Lock()
        self.frames: list[bytes] = []
        self.out: list[str] = []
        self.stretches: list[tuple[str, int, int]] = []

    def write(self, frame: bytes) -> None:
        # What comes together may be sent in one piece.
        self.frames += [b'{"type"' + piece for piece in frame.split(b'{"type"')[1:]]

    def left(self, room: str) -> None:
        self.out.append(room)

    def wrote(self, room: str, first: int, last: int) -> None:
        self.stretches.append((room, first, last))

    async def drained(self) -> None:
        await asyncio.sleep(0)

    @property
    def seqs(self) -> list[int]:
        return [int(frame.split(b'"seq":')[1].split(b",")[0]) for frame in self.frames]


def settings(database: Database) -> Settings:
    return Settings(
        database_url=database.app_url,
        jwt_secret=SECRET,
        key_encryption_key=base64.b64decode(KEY_ENCRYPTION_KEY),
        join_creates=True,
    )


@asynccontextmanager
async def two_nodes(database: Database, *, apart: bool) -> AsyncIterator[tuple[Services, Services]]:
    """Give two nodes, on one bus or `apart`, each on its own."""
    bus = InProcessBus()
    async with (
        node(settings(database), bus) as one,
        node(settings(database), None if apart else bus) as other,
    ):
        yield one, other


async def submit(services: Services, command: JoinRoom | LeaveRoom | PostMessage, user: str, ref: str) -> int:
    return (await (await services.chat.submit(command, user, ref, ref.encode()))).seq


async def post(services: Services, user: str, number: int) -> int:
    ref = f"{user}-{number}"
    return await submit(services, PostMessage(room="hot", content=ref, ref=ref), user, ref)


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator] # a callable
            await asyncio.sleep(0.01)


async def test_a_hot_room_shared_by_two_nodes_has_one_order_and_no_conflict(database: Database) -> None:
    async with two_nodes(database, apart=False) as nodes:
        ears = []
        for number, services in enumerate(nodes):
            user = f"user{number}"
            await submit(services, JoinRoom(room="hot", create=True), user, f"join-{user}")
            ears.append(Ear(user))
            await services.hub.subscriptions.subscribe(ears[-1], "hot", 0)
        seqs = await asyncio.gather(
            *(post(services, f"user{number}", i) for i in range(300) for number, services in enumerate(nodes))
        )
        assert sorted(seqs) == list(range(4, 604))
        await until(lambda: all(len(ear.frames) == 603 for ear in ears))
        for ear in ears:
            assert ear.seqs == list(range(1, 604))


async def test_nodes_that_do_not_hear_each_other_still_have_one_order(database: Database) -> None:
    async with two_nodes(database, apart=True) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "a")
        ear = Ear("alice")
        await one.hub.subscriptions.subscribe(ear, "hot", 0)
        await submit(other, JoinRoom(room="hot"), "bob", "b")
        for number in range(50):
            await post(other, "bob", number)
        # What this node appends brings the rows it lacks along.
        last = await post(one, "alice", 0)
        await until(lambda: len(ear.frames) == last)
        assert ear.seqs == list(range(1, last + 1))


@pytest.mark.parametrize("apart", [False, True])
async def test_a_retry_on_the_other_node_has_one_effect(database: Database, *, apart: bool) -> None:
    async with two_nodes(database, apart=apart) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "join")
        first = await asyncio.gather(post(one, "alice", 1), post(other, "alice", 1))
        assert first[0] == first[1]
        assert await one.log.head("room:hot") == first[0]


async def test_a_member_who_left_on_another_node_is_taken_out(database: Database) -> None:
    async with two_nodes(database, apart=False) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "a")
        await submit(one, JoinRoom(room="hot"), "bob", "b")
        ear = Ear("bob")
        await one.hub.subscriptions.subscribe(ear, "hot", 0)
        left = await submit(other, LeaveRoom(room="hot"), "bob", "leave")
        await post(one, "alice", 1)
        await until(lambda: ear.out)
        assert ear.seqs == list(range(1, left + 1))


async def test_a_refusal_on_an_old_state_is_decided_again(database: Database) -> None:
    async with two_nodes(database, apart=True) as (one, other):
        await submit(one, JoinRoom(room="hot", create=True), "alice", "a")
        await other.hub.feeds.feed("hot")
        await submit(one, JoinRoom(room="hot"), "bob", "b")
        # The other node does not know yet that bob is a member, and must not refuse him.
        assert await post(other, "bob", 1) == 4
