"""The contract of a bus (`service.cluster.bus`), asked of each: in the process, over Valkey, over Redis."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from broadcaster import Broadcast
from redis.asyncio.connection import Connection

from service.cluster.bus import InProcessBackend, InProcessBus
from service.cluster.redis_bus import RedisBus
from tests.support.servers.brokers import Broker, broker
from tests.support.waiting import until

KINDS = ["valkey", pytest.param("redis", marks=pytest.mark.needs("redis-server"))]
TIMEOUT = 1.0
SMALL = 50


def _accept(_channel: str, message: bytes) -> bytes:
    return message


class End:
    """A node's end of the bus, and what its backend reported as missed."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.missed: list[bool] = []
        self.backend = make(self.missed.append)

    async def heard(self) -> tuple[str, bytes]:
        async with asyncio.timeout(60):
            event = await self.backend.next_published()
            return event.channel, event.message

    async def subscribe(self, channel: str) -> None:
        """Subscribe, and wait until it counts."""
        before = len(self.missed)
        await self.backend.subscribe(channel)
        if isinstance(self.backend, RedisBus):
            await until(lambda: len(self.missed) > before)

    async def ready_to_publish(self) -> None:
        """Wait until what it publishes arrives."""
        await self.subscribe("ready")
        while True:
            await self.backend.publish("ready", b"?")
            try:
                async with asyncio.timeout(0.2):
                    await self.backend.next_published()
                    break
            except TimeoutError:
                continue
        await self.backend.unsubscribe("ready")


@pytest.fixture(params=["in-process", *KINDS])
def make(request: pytest.FixtureRequest, place: Path) -> Iterator[Callable[[Any], Any]]:
    """Give what makes backends of one bus."""
    if request.param == "in-process":
        bus = InProcessBus()
        yield lambda missed: InProcessBackend(bus, missed, _accept, SMALL)
    else:
        with broker(request.param, place) as running:
            yield lambda missed: RedisBus(running.url, TIMEOUT, "test:", missed, _accept, SMALL)


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, place: Path) -> Iterator[Broker]:
    with broker(request.param, place) as running:
        yield running


@asynccontextmanager
async def ends(make: Callable[[Any], Any], number: int = 2) -> AsyncIterator[list[End]]:
    made = [End(make) for _ in range(number)]
    for end in made:
        await end.backend.connect()
    try:
        for end in made:
            await end.ready_to_publish()
            end.missed.clear()
        yield made
    finally:
        for end in made:
            await end.backend.disconnect()


def over(server: Broker) -> Callable[[Any], Any]:
    return lambda missed: RedisBus(server.url, TIMEOUT, "test:", missed, _accept)


async def test_what_one_says_all_subscribers_hear_in_order_and_byte_for_byte(
    make: Callable[[Any], Any],
) -> None:
    async with ends(make, 3) as (one, other, third):
        for end in (one, other):
            await end.subscribe("room:a")
        await third.subscribe("room:b")
        said = [bytes([n, 0, 255, 10, 13]) * (n + 1) for n in range(SMALL - 10)] + [b"x" * 2_000_000]
        for message in said:
            await one.backend.publish("room:a", message)
        await one.backend.publish("room:b", b"last")
        for end in (one, other):
            assert [await end.heard() for _ in said] == [("room:a", message) for message in said]
        assert await third.heard() == ("room:b", b"last")


@pytest.mark.parametrize(("late", "logged"), [(1, 0), (2, 2)])
async def test_only_a_second_attempt_that_times_out_is_an_outage(
    server: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, late: int, logged: int
) -> None:
    """The first attempts of both connections, `late` of each, time out."""
    attempts: Counter[object] = Counter()
    connect: Any = Connection.connect

    async def starved(connection: Connection) -> None:
        attempts[asyncio.current_task()] += 1
        if attempts[asyncio.current_task()] <= late:
            await asyncio.sleep(0)
            raise TimeoutError
        await connect(connection)

    monkeypatch.setattr(Connection, "connect", starved)
    async with ends(lambda missed: RedisBus(server.url, 60, "test:", missed, _accept), 1):
        events = [record.message for record in caplog.records]
        assert (events.count("bus_lost"), events.count("bus_back")) == (logged, logged)


async def test_after_unsubscribing_nothing_more_comes(make: Callable[[Any], Any]) -> None:
    async with ends(make) as (one, other):
        await other.subscribe("room:a")
        await other.backend.unsubscribe("room:a")
        await other.subscribe("room:b")
        await one.backend.publish("room:a", b"no")
        await one.backend.publish("room:b", b"yes")
        assert await other.heard() == ("room:b", b"yes")


async def test_two_first_subscribers_at_once_both_hear(make: Callable[[Any], Any]) -> None:
    missed: list[bool] = []
    async with ends(make, 1) as (one,), Broadcast(backend=make(missed.append)) as broadcast:

        async def hear() -> bytes:
            async with broadcast.subscribe("room:a") as subscriber:
                return (await subscriber.get()).message  # type: ignore[return-value] # passes bytes

        hearers = [asyncio.create_task(hear()) for _ in range(2)]
        while not all(hearer.done() for hearer in hearers):
            await one.backend.publish("room:a", b"both")
            await asyncio.sleep(0.01)
        assert [hearer.result() for hearer in hearers] == [b"both", b"both"]


async def test_a_full_queue_drops_news_and_says_so(make: Callable[[Any], Any]) -> None:
    async with ends(make) as (one, other):
        await other.subscribe("room:a")
        other.missed.clear()
        for number in range(3 * SMALL):
            await one.backend.publish("room:a", b"%d" % number)
            await asyncio.sleep(0.002)
        assert [await other.heard() for _ in range(SMALL)] == [("room:a", b"%d" % n) for n in range(SMALL)]
        await one.backend.publish("room:a", b"after")
        # A queue over a network may take more of them once it was emptied.
        while await other.heard() != ("room:a", b"after"):
            pass
        assert True in other.missed


async def test_nothing_suspends(make: Callable[[Any], Any]) -> None:
    async with ends(make, 1) as (one,):
        for call in (
            one.backend.subscribe("room:a"),
            one.backend.publish("room:a", b"1"),
            one.backend.unsubscribe("room:a"),
        ):
            at_once(call)


def at_once(call: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(StopIteration):
        call.send(None)


async def test_after_a_restart_it_hears_again_and_says_what_was_missed(server: Broker) -> None:
    async with ends(over(server)) as (one, other):
        await other.subscribe("room:a")
        for round_number in range(3):
            other.missed.clear()
            server.kill()
            await one.backend.publish("room:a", b"lost")
            await asyncio.sleep(0.3 * round_number)
            at_once(one.backend.publish("room:a", b"dropped"))
            server.start()
            await until(lambda: True in other.missed)
            await say_until_heard(one, other, b"%d" % round_number)


async def say_until_heard(one: End, other: End, message: bytes) -> None:
    """Publish a message until it is received; messages published during an outage are not kept."""
    hearing = asyncio.create_task(other.heard())
    while not hearing.done():
        await one.backend.publish("room:a", message)
        await asyncio.sleep(0.02)
    heard = {await hearing}
    while True:
        try:
            async with asyncio.timeout(0.2):
                heard.add(await other.heard())
        except TimeoutError:
            break
    assert heard == {("room:a", message)}


async def test_a_server_that_freezes_holds_nobody_up(server: Broker) -> None:
    async with ends(over(server)) as (one, other):
        await other.subscribe("room:a")
        server.freeze()
        for _ in range(100):
            at_once(one.backend.publish("room:a", b"into the ice"))
        # Its deadline is what ends the connection.
        await until(lambda: not one.backend._sending)
        server.thaw()
        await until(lambda: one.backend._sending)
        hearing = asyncio.create_task(other.heard())
        while not hearing.done():
            await one.backend.publish("room:a", b"thawed")
            await asyncio.sleep(0.02)


async def test_the_server_may_come_later(place: Path) -> None:
    server = Broker("valkey", place)
    end = End(over(server))
    await end.backend.connect()
    at_once(end.backend.subscribe("room:a"))
    at_once(end.backend.publish("room:a", b"dropped"))
    await asyncio.sleep(0.3)
    server.start()
    try:
        await end.ready_to_publish()
        await end.backend.publish("room:a", b"1")
        assert await end.heard() == ("room:a", b"1")
    finally:
        await end.backend.disconnect()
        server.kill()


async def test_many_channels_come_back_too(server: Broker) -> None:
    async with ends(over(server)) as (one, other):
        channels = [f"room:{number}" for number in range(3_000)]
        for channel in channels:
            await other.backend.subscribe(channel)
        server.kill()
        server.start()
        await one.ready_to_publish()
        await until(lambda: len(other.missed) >= len(channels))
        for channel in (channels[0], channels[-1]):
            await one.backend.publish(channel, b"here")
            assert await other.heard() == (channel, b"here")
