"""An attacker with the bus key publishes events that are not on the record: the log decides, also when it is late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from service.cluster.bus import InProcessBackend, InProcessBus
from service.cluster.envelope import Envelope
from service.cluster.relay import Relay
from service.domain.commands import JoinRoom, PostMessage
from service.domain.events import Event, MemberJoined, ReactionAdded, RoomArchived
from service.errors import Overloaded, Refusal
from service.eventstore.serializer import PeerRow
from service.node.node import Node, node
from service.realtime import gap_repair
from tests.support.realtime.nodes import Recorder, settings, submit
from tests.support.servers.databases import Database
from tests.support.waiting import until


class Forger:
    """A member of the bus that serves no log."""

    def __init__(self, relay: Relay, position: int) -> None:
        self._relay = relay
        self._position = position

    def tell(self, seq: int, *events: Event) -> None:
        """Publish events of the room `hot`, the first with a seq, at positions that the log will give."""
        rows = [
            PeerRow(
                seq + number,
                self._position + number + 1,
                datetime.now(UTC),
                "mallory",
                event.TOPIC,
                event.subject,
                msgspec.json.encode(event),
                None,
            )
            for number, event in enumerate(events)
        ]
        self._relay.announce({"room:hot": rows})


@asynccontextmanager
async def forging(database: Database) -> AsyncIterator[tuple[Node, Forger, Recorder]]:
    """Give a node on which alice listens to the room `hot`, with its log at seq 3, and a forger on its bus."""
    bus = InProcessBus()
    async with node(settings(database), bus) as running:
        for user in ("alice", "bob"):
            await submit(running, JoinRoom(room="hot", create=True), user, f"join-{user}")
        subscriber = Recorder("alice")
        await running.live.hub.subscriptions.subscribe(subscriber, "hot", 0)
        envelope = Envelope(
            settings(database).bus_key,
            uuid4(),
            lambda: running.storage.readiness.epoch,
            lambda: _now(running),
        )
        async with Relay(lambda missed, accept: InProcessBackend(bus, missed, accept), envelope) as relay:
            publishing = asyncio.create_task(relay.run())
            yield running, Forger(relay, await running.storage.reader.position()), subscriber
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


def _now(running: Node) -> int:
    return int(running.storage.clock.now().timestamp() * 1_000_000)


async def state_is_the_logs(running: Node) -> None:
    """Wait until the node's state of the room is that of the log, and stays so."""

    async def agrees() -> bool:
        return (await running.live.hub.feeds.feed("hot")).state == await running.storage.reader.room("hot")

    async with asyncio.timeout(60):
        while running.live.hub.unverified or not await agrees():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("event", [MemberJoined(user="mallory", role="owner"), RoomArchived()])
async def test_members_and_settings_come_from_the_log_alone(database: Database, event: Event) -> None:
    async with forging(database) as (running, forger, subscriber):
        await running.live.people.load(["mallory"])
        before = running.live.hub.feeds.repairs.reads
        forger.tell(4, event)
        await until(lambda: running.live.hub.feeds.repairs.reads > before)
        assert running.live.hub.feeds.known_head("room:hot") == 3
        with pytest.raises(Refusal):
            await submit(running, PostMessage(room="hot", content="x", ref="m"), "mallory", "m")
        await submit(running, PostMessage(room="hot", content="x", ref="a"), "alice", "a")
        await until(lambda: len(subscriber.frames) == 4)
        await state_is_the_logs(running)


async def test_a_room_that_is_ahead_of_the_log_is_loaded_again(database: Database) -> None:
    async with forging(database) as (running, forger, subscriber):
        left: list[object] = []
        running.live.hub.on_resync = left.extend
        forger.tell(4, ReactionAdded(message=1, emoji="x"), ReactionAdded(message=1, emoji="y"))
        await until(lambda: left)
        assert left == [subscriber]
        await state_is_the_logs(running)
        assert running.live.hub.feeds.known_head("room:hot") in (None, 3)
        assert subscriber.ranges == [("hot", 1, 5)], "the range that it was written is reported"
        assert await submit(running, PostMessage(room="hot", content="x", ref="a"), "alice", "a") == 4


async def test_a_forged_event_in_the_place_of_a_real_one_is_found(database: Database) -> None:
    async with forging(database) as (running, forger, _):
        left: list[object] = []
        running.live.hub.on_resync = left.extend
        forger.tell(4, ReactionAdded(message=1, emoji="x"))
        await until(lambda: left or running.live.hub.feeds.known_head("room:hot") == 4)
        while True:  # refused as retryable until the forged event is found
            try:
                await submit(running, PostMessage(room="hot", content="x", ref="a"), "alice", "a")
                break
            except Overloaded:
                await asyncio.sleep(0.05)
        await until(lambda: left)
        await state_is_the_logs(running)
        assert running.live.hub.feeds.known_head("room:hot") in (None, 4)


async def test_events_that_never_come_keep_no_room_waiting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_repair, "REPAIR_PAUSE", 0.02)
    async with forging(database) as (running, forger, _):
        running.live.hub.on_resync = lambda _listeners: None
        feed = await running.live.hub.feeds.feed("hot")
        forger.tell(1_000, ReactionAdded(message=1, emoji="x"))
        await until(lambda: feed.gap)
        await until(lambda: not feed.gap or feed.dropped)
        await state_is_the_logs(running)
        subscriber = Recorder("bob")
        await running.live.hub.subscriptions.subscribe(subscriber, "hot", 0)
        await submit(running, PostMessage(room="hot", content="x", ref="a"), "alice", "a")
        await until(lambda: len(subscriber.frames) == 4)
        assert subscriber.seqs == [1, 2, 3, 4]
