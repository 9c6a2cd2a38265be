"""The relay: who is believed, what is heard again after an outage, and how a node that is deaf finds out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.cluster import heartbeat
from service.cluster.bus import InProcessBackend, InProcessBus
from service.cluster.envelope import Envelope, Message, channel_prefix
from service.cluster.redis_bus import RedisBus
from service.cluster.relay import NODES, Relay
from service.eventstore.serializer import PeerRow
from tests.support.servers.brokers import broker, wire
from tests.support.waiting import until

KEY = b"k" * 32
EPOCH = str(UUID(int=7))


def envelope_of(
    key: bytes = KEY, epoch: Callable[[], str] = lambda: EPOCH, now: Callable[[], int] | None = None
) -> Envelope:
    """Return a node's envelope; without `now` on this machine's clock."""
    return Envelope(key, uuid4(), epoch, now or (lambda: int(time.time() * 1_000_000)))


@asynccontextmanager
async def relay(backend: Callable[..., Any], key: bytes = KEY) -> AsyncIterator[Relay]:
    async with Relay(backend, envelope_of(key)) as made:
        tasks = [asyncio.create_task(made.run()), asyncio.create_task(made.heartbeat.run())]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def in_process(bus: InProcessBus) -> Callable[..., Any]:
    return lambda missed, accept: InProcessBackend(bus, missed, accept)


def test_a_message_is_opened_where_it_was_sealed_and_nowhere_else() -> None:
    envelope = envelope_of()
    message = Message("kind", b"\0payload")
    sealed = envelope.seal("room:a", message)
    other = envelope_of()
    opened = other.open("room:a", sealed)
    assert opened is not None
    assert other.decode(opened) == message
    assert other.open("room:b", sealed) is None
    assert envelope_of(b"x" * 32).open("room:a", sealed) is None
    assert envelope.is_own(opened)
    assert not other.is_own(opened)
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        assert other.open("room:a", bytes(altered)) is None
    assert other.open("room:a", b"") is None


async def test_a_node_alone_makes_nothing_ready_for_others() -> None:
    bus = InProcessBus()
    heard: list[str] = []
    row = PeerRow(1, 1, datetime.now(UTC), "alice", "topic", "settings", b"{}", None)
    async with relay(in_process(bus)) as one:
        one.announce({"room:general": [row]})
        assert one.queued == 0
        async with relay(in_process(bus)) as other:
            other.on_events(lambda stream, rows: heard.append(f"{stream} {len(rows)}"))
            other.follow("general")
            await asyncio.sleep(0)
            one.announce({"room:general": [row]})
            await until(lambda: heard == ["room:general 1"])


def test_installations_with_other_keys_use_other_channels() -> None:
    assert channel_prefix(KEY) == channel_prefix(KEY) != channel_prefix(b"x" * 32)


async def test_what_a_stranger_says_is_ignored_and_silences_nobody() -> None:
    bus = InProcessBus()
    heard: list[bytes] = []
    async with relay(in_process(bus)) as one, relay(in_process(bus)) as other:
        other.on("word", heard.append)
        await until(lambda: one.heartbeat.receiving and other.heartbeat.receiving)
        stranger = InProcessBackend(bus, lambda _everything: None, lambda _channel, message: message)
        for forged in (b"", b"garbage", envelope_of(b"x" * 32).seal(NODES, Message("word", b"forged"))):
            await stranger.publish(NODES, forged)
        one.publish("word", b"true")
        await until(lambda: heard)
        assert heard == [b"true"]
        assert other.filter.refused["forged"] == 3


async def test_a_room_is_heard_while_it_is_followed_and_only_by_others() -> None:
    bus = InProcessBus()
    heard: list[tuple[str, str, bytes]] = []

    def note(name: str, room: str, said: bytes) -> None:
        heard.append((name, room, said))

    async with relay(in_process(bus)) as one, relay(in_process(bus)) as other:
        for name, end in (("one", one), ("other", other)):
            end.on_room("word", partial(note, name))
            end.follow("a")
        await until(lambda: one.heartbeat.receiving and other.heartbeat.receiving)
        one.publish_to_room("a", "word", b"1")
        await until(lambda: heard)
        other.unfollow("a")
        one.publish_to_room("a", "word", b"2")
        one.publish("nothing takes this", b"")
        other.publish_to_room("a", "word", b"3")
        await until(lambda: len(heard) == 2)
        assert heard == [("other", "a", b"1"), ("one", "a", b"3")]


async def test_one_message_that_cannot_be_taken_silences_nobody() -> None:
    bus = InProcessBus()
    heard: list[bytes] = []

    def hear(said: bytes) -> None:
        if said == b"bad":
            raise ValueError(said)
        heard.append(said)

    async with relay(in_process(bus)) as one, relay(in_process(bus)) as other:
        other.on("word", hear)
        await until(lambda: one.heartbeat.receiving and other.heartbeat.receiving)
        one.publish("word", b"bad")
        one.publish("word", b"good")
        await until(lambda: heard)


async def test_after_a_restart_of_the_bus_everybody_is_told_to_say_it_again(place: Path) -> None:
    resyncs: list[int] = []
    missed: list[int] = []
    with broker("valkey", place) as server:

        def backend(missed: Any, accept: Any) -> RedisBus:
            return RedisBus(server.url, 1.0, "test:", missed, accept)

        async with relay(backend) as one:
            one.heartbeat.on_resync(lambda: resyncs.append(1))
            one.on_missed(lambda: missed.append(1))
            await until(lambda: one.heartbeat.receiving and resyncs)
            resyncs.clear()
            missed.clear()
            server.kill()
            server.start()
            await until(lambda: resyncs)
            assert missed


async def test_a_node_that_went_deaf_without_a_word_finds_out_and_hears_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(heartbeat, "DOWN_AFTER", 0.5)
    with broker("valkey", place) as server:
        async with wire(server) as (link, url):

            def backend(missed: Any, accept: Any) -> RedisBus:
                return RedisBus(url, 1.0, "test:", missed, accept)

            async with relay(backend) as one:
                await until(lambda: one.heartbeat.receiving)
                resyncs: list[int] = []
                one.heartbeat.on_resync(lambda: resyncs.append(1))
                for _ in range(2):
                    resyncs.clear()
                    link.cut_silently()
                    await until(lambda: not one.heartbeat.receiving)
                    await until(lambda: one.heartbeat.receiving and resyncs)
