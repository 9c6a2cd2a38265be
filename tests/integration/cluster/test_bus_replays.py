"""An attacker who reads and writes Redis, without the bus key, publishes what nodes published: nothing of it counts."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.cluster.envelope import channel_prefix
from service.embedded import Servers
from tests.support.chat.members import members
from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment
from tests.support.http.metrics import number, scraped, scraped_until
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database, fresh_database
from tests.support.servers.restore import postgres, renewed, restore

# A database is dropped and restored under running processes.
pytestmark = pytest.mark.logs(*OUTAGE, "task_failed")

KEY = os.urandom(32)
PREFIX = channel_prefix(KEY)
"""Redis shows it to the attacker; it is computed here to leave other tests' channels alone."""

Recording = list[tuple[str, bytes]]
"""Channels, without the prefix, and messages, in the order in which they were published."""


class Attacker:
    """A client of Redis. `heard` is everything that was published since it began."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self.heard: Recording = []

    async def listen(self) -> None:
        """Record until cancelled."""
        async with self._redis.pubsub() as pubsub:
            await pubsub.psubscribe(f"{PREFIX}*")
            while True:
                message = await pubsub.get_message(timeout=60)
                if message is not None and message["type"] == "pmessage":
                    self.heard.append((message["channel"].decode().removeprefix(PREFIX), message["data"]))

    async def publish(self, recording: Recording) -> None:
        """Publish messages, each on a channel."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for channel, message in recording:
                pipeline.publish(PREFIX + channel, message)
            await pipeline.execute()

    def holding(self, word: bytes) -> Recording:
        """Return the recorded messages in which a word stands, which are not encrypted."""
        return [(channel, message) for channel, message in self.heard if word in message]

    async def record(self, word: bytes, at_least: int = 1) -> Recording:
        """Wait until so many messages with a word in them were recorded; return them."""
        async with asyncio.timeout(60):
            while len(self.holding(word)) < at_least:
                await asyncio.sleep(0.02)
        return self.holding(word)


@asynccontextmanager
async def attacking(servers: Servers) -> AsyncIterator[Attacker]:
    async with Redis.from_url(servers.redis_url) as redis:
        attacker = Attacker(redis)
        listening = asyncio.create_task(attacker.listen())
        try:
            async with asyncio.timeout(60):
                while not await redis.pubsub_numpat():
                    await asyncio.sleep(0.01)
            yield attacker
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def cluster_settings(servers: Servers) -> dict[str, str]:
    return {
        "ONRECORD_REDIS_URL": servers.redis_url,
        "ONRECORD_BUS_KEY": base64.b64encode(KEY).decode(),
        "ONRECORD_DISCONNECT_GRACE": "1",
    }


@asynccontextmanager
async def nodes(
    database: Database, servers: Servers, **settings: str
) -> AsyncIterator[tuple[Process, Process]]:
    """Give two nodes connected by the bus, once both receive from it."""
    env = environment(database, **cluster_settings(servers), **settings)
    async with (
        running(env | {"ONRECORD_NODE": "one"}, "serve") as one,
        running(env | {"ONRECORD_NODE": "other"}, "serve") as other,
    ):
        for node in (one, other):
            await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
        yield one, other


async def refused(node: Process, reason: str, at_least: int = 1) -> None:
    """Wait until a node has counted so many refused messages."""
    await scraped_until(
        node.address,
        lambda numbers: number(numbers, "onrecord_bus_refused_total", reason=reason) >= at_least,
    )


async def seen_by(node: Process, attacker: Attacker, recording: Recording) -> None:
    """Publish a recording, and wait until a node has taken note of all of it."""
    before = number(await scraped(node.address), "onrecord_bus_messages_total", direction="in")
    await attacker.publish(recording)
    await scraped_until(
        node.address,
        lambda numbers: (
            number(numbers, "onrecord_bus_messages_total", direction="in") >= before + len(recording)
        ),
    )


async def answered(who: Client, count: int) -> int:
    """Send so many commands at once; return how many were not refused."""
    answers = await asyncio.gather(*(who.say("room:list") for _ in range(count)), return_exceptions=True)
    return count - sum(isinstance(answer, Refused) for answer in answers)


async def test_replayed_spending_starves_no_one(database: Database, servers: Servers) -> None:
    rate = {"ONRECORD_RATE_PER_SECOND": "1", "ONRECORD_RATE_BURST": "60"}
    async with (
        attacking(servers) as attacker,
        nodes(database, servers, **rate) as (one, other),
        client(one.url, "alice") as here,
        client(other.url, "alice") as there,
    ):
        assert await answered(here, 3) == 3
        recording = await attacker.record(b"limits.spent")
        await seen_by(other, attacker, recording * 200)
        assert await answered(there, 40) == 40
        assert await answered(here, 10) == 10
        for node in (one, other):
            await refused(node, "replayed", 200)


async def test_a_message_moved_to_another_channel_is_forged(database: Database, servers: Servers) -> None:
    async with (
        attacking(servers) as attacker,
        nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
    ):
        for room in ("work", "play"):
            await alice.join(room)
            await bob.join(room)
        await alice.say("typing:start", roomId="work")
        recording = await attacker.record(b"typing.start")
        await seen_by(other, attacker, [("room:play", message) for _, message in recording])
        await scraped_until(other.address, lambda numbers: number(numbers, "onrecord_bus_ignored_total") >= 1)
        assert not bob.events("typing:start", roomId="play")


async def test_replayed_typing_and_read_markers_are_not_shown(database: Database, servers: Servers) -> None:
    async with (
        attacking(servers) as attacker,
        nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
    ):
        await alice.join("general")
        await bob.join("general")
        for content in ("first", "second"):
            await bob.post("general", content)
        await alice.until(lambda: len(alice.events("message:new")) == 2)
        for seq in alice.seqs("general")[-2:]:
            await alice.say("message:read", roomId="general", messageId=seq)
        await alice.say("typing:start", roomId="general")
        await alice.say("typing:stop", roomId="general")
        await bob.until(lambda: bob.events("typing:stop") and len(bob.events("message:read")) == 2)
        recording = await attacker.record(b"typing.start") + await attacker.record(b"marker", 2)
        await seen_by(other, attacker, recording * 3)
        await bob.say("room:list")
        assert len(bob.events("typing:start")) == 1
        assert len(bob.events("message:read")) == 2


async def test_a_restarted_node_believes_no_recording_of_a_dead_one(
    database: Database, servers: Servers
) -> None:
    async with attacking(servers) as attacker, AsyncExitStack() as stack:
        async with nodes(database, servers) as (one, other):
            async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
                await alice.join("general")
                await bob.join("general")
                recording = await attacker.record(b"alice")
                recording += await attacker.record(b"presence.lease", 2)
        env = environment(database, **cluster_settings(servers))
        again = await stack.enter_async_context(running(env, "serve"))
        await scraped_until(again.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
        bob = await stack.enter_async_context(client(again.url, "bob", {"general": None}))
        nodes_only = [(channel, message) for channel, message in recording if channel == "nodes"]
        assert any(b"presence" in message for _, message in nodes_only)
        await seen_by(again, attacker, nodes_only)
        assert (await members(bob))["alice"][0] == "offline"
        await refused(again, "replayed", len(nodes_only))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "onrecord.dump"


async def test_an_event_from_before_a_restore_makes_no_member_and_wedges_no_room(
    database: Database, servers: Servers, backup: Path
) -> None:
    async with attacking(servers) as attacker, nodes(database, servers) as (one, other):
        async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
            await alice.say("room:create", roomId="board", name="Board", visibility="private")
            for user in ("bob", "mallory"):
                await alice.say("room:invite", roomId="board", userId=user)
            await bob.join("board")
            await asyncio.to_thread(
                postgres, servers, "pg_dump", "--format=custom", "--file", backup, "--dbname", database.owner_url
            )  # fmt: skip
            before = len(attacker.heard)
            async with client(one.url, "mallory") as mallory:
                await mallory.join("board")
                await bob.until(lambda: bob.events("room:user_joined", userId="mallory"))
                await alice.say("room:kick", roomId="board", userId="mallory")
            recording = [one for one in attacker.heard[before:] if one[0] == "room:board"]
            assert recording
            await restore(servers, database, backup)
            assert {await alice.closed(), await bob.closed()} == {4011}
        async with client(one.url, "alice", {"board": None}) as alice:
            async with (
                client(other.url, "bob", {"board": None}) as bob,
                client(other.url, "mallory") as mallory,
            ):
                await mallory.join("elsewhere")
                await seen_by(other, attacker, recording[:1])
                shown = await bob.say("room:members", roomId="board")
                assert "mallory" not in {one["userId"] for one in shown["members"]}
                with pytest.raises(Refused):
                    await mallory.post("board", "an outsider")
                ack = await alice.post("board", "the room goes on")
                await bob.until(lambda: bob.events("message:new", seq=ack["seq"]))
            await refused(other, "replayed", 1)


async def test_nodes_of_two_logs_under_one_bus_key_take_nothing_from_each_other(
    database: Database, servers: Servers
) -> None:
    with fresh_database(servers) as another:
        await renewed(another)  # both are copies of one database, as after a restore
        async with (
            running(environment(database, **cluster_settings(servers)), "serve") as one,
            running(environment(another, **cluster_settings(servers)), "serve") as other,
            client(one.url, "alice") as alice,
            client(other.url, "bob") as bob,
        ):
            await bob.join("general")
            joined = await alice.join("general")
            for said in range(3):
                await alice.post("general", f"not for bob {said}")
            await alice.say("typing:start", roomId="general")
            await refused(other, "epoch", 5)
            await bob.say("room:list")
            assert not [event for event in bob.heard if event.get("userId") == "alice"]
            assert (await bob.post("general", "of this log"))["seq"] == joined["seq"] + 1
