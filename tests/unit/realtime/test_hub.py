"""The hub where tasks meet: loading and repairing."""

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from service.domain.account import PersonState
from service.domain.events import MemberJoined, MessagePosted, ReactionAdded, Recorded, RoomOpened, as_erased
from service.errors import Unavailable
from service.eventstore.serializer import UnknownTopic
from service.realtime import catch_up, room_memory
from service.realtime.hub import Hub
from service.realtime.room_memory import MAX_PARKED
from service.realtime.user_cache import UserCache
from tests.support.realtime.subscribers import STREAM, Log, Recorder, number
from tests.support.waiting import until

if TYPE_CHECKING:
    from service.eventstore.reader import LogReader


class SlowLog(Log):
    """A log whose look-ups of names and rooms can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()
        self.held.set()
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.pages = 0
        self.trouble: Exception | None = None
        self.broken = ""

    async def stream(self, stream: str, after: int, limit: int, until: int | None = None) -> list[Recorded]:
        self.pages += 1
        if self.trouble is not None or stream == self.broken:
            raise self.trouble or UnknownTopic("room.RoomPainted.v1")
        return await super().stream(stream, after, limit, until)

    async def persons(self, users: object) -> dict[str, PersonState]:
        self.asked += 1
        await self.held.wait()
        return await super().persons(users)

    async def room(self, room: str) -> object:  # type: ignore[override] # the state
        self.asked += 1
        await self.held.wait()
        state = await super().room(room)
        await self.answers.wait()
        return state


def world() -> tuple[SlowLog, Hub]:
    log = SlowLog()
    log.append(RoomOpened(name="General"))
    log.append(MemberJoined(user="alice", role="owner"))
    reader = cast("LogReader", log)
    return log, Hub(reader, UserCache(reader), {"number": number})


async def test_waiting_for_a_room_survives_cancellation_of_the_first_caller() -> None:
    log, hub = world()
    log.held.clear()
    first = asyncio.create_task(hub.feeds.feed("general"))
    await until(lambda: log.asked)
    second = asyncio.create_task(hub.feeds.feed("general"))
    await asyncio.sleep(0)
    first.cancel()
    log.held.set()
    assert (await second).head == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_arrives_while_a_repair_waits_for_names_is_delivered_too() -> None:
    log, hub = world()
    subscriber = Recorder("alice", 0)
    await hub.subscriptions.subscribe(subscriber, "general", 0)
    log.held.clear()
    log.asked = 0
    hub.deliver({STREAM: [log.append(MessagePosted(author="stranger", content="x", ref="1"))]})
    await until(lambda: log.asked)
    hub.deliver({STREAM: [log.append(MessagePosted(author="alice", content="x", ref="2"))]})
    log.held.set()
    await until(lambda: len(subscriber.received) == 4)
    assert subscriber.received == [1, 2, 3, 4]
    await hub.close()


async def test_event_arriving_during_load_is_in_the_feed() -> None:
    log, hub = world()
    log.answers.clear()
    loading = asyncio.create_task(hub.feeds.feed("general"))
    await until(lambda: log.asked)
    await asyncio.sleep(0.01)  # the log has been read, and its answer is on the way
    hub.deliver({STREAM: [log.append(ReactionAdded(message=2, emoji="x"))]})  # which names no user
    log.answers.set()
    assert (await loading).head == 3
    await hub.close()


async def test_events_during_a_load_are_bounded_and_all_come_out() -> None:
    log, hub = world()
    log.answers.clear()
    loading = asyncio.create_task(hub.feeds.feed("general"))
    await until(lambda: log.asked)
    await asyncio.sleep(0.01)  # the log has been read, and its answer is on the way
    for _ in range(MAX_PARKED + 500):
        hub.deliver({STREAM: [log.append(ReactionAdded(message=2, emoji="x"))]})
    assert len(hub.feeds._loads["general"].parked) == MAX_PARKED
    log.answers.set()
    feed = await loading
    await until(lambda: feed.head == len(log.events))
    assert hub.rings.reserved == 0
    await hub.close()


async def test_a_room_being_read_at_a_restore_lacks_nothing_of_the_former_log() -> None:
    """A room that the restored log does not have stays out of memory."""
    log = SlowLog()
    reader = cast("LogReader", log)
    hub = Hub(reader, UserCache(reader), {"number": number})
    log.answers.clear()
    loading = asyncio.create_task(hub.feeds.feed("general"))
    await until(lambda: log.asked)
    hub.feeds.mark_missing("general", 7)
    hub.feeds.clear()
    log.answers.set()
    assert (await loading).head == 0
    assert not hub.feeds.follows("general")
    await hub.close()


async def test_an_event_for_which_there_is_no_memory_is_read_from_the_log() -> None:
    log = SlowLog()
    log.append(RoomOpened(name="General"))
    reader = cast("LogReader", log)
    hub = Hub(reader, UserCache(reader), {"number": number}, ring_bytes=0)
    feed = await hub.feeds.feed("general")
    log.append(ReactionAdded(message=1, emoji="x"))
    hub.deliver({STREAM: [log.append(ReactionAdded(message=1, emoji="x"))]})
    assert not feed.gap, "it does not wait"
    await until(lambda: feed.head == 3)
    await hub.close()


async def test_rooms_without_subscribers_stay_within_a_bound_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, hub = world()
    feed = await hub.feeds.feed("general")
    monkeypatch.setattr(room_memory, "IDLE_BYTES", 3 * feed.memory)
    subscriber = Recorder("alice", 0)
    hub.subscriptions.pre_subscribe(subscriber, "general")
    for room in "abcdef":
        await hub.feeds.feed(room)
    await hub.feeds.feed("d")
    await hub.feeds.feed("g")
    assert [*hub.feeds.by_room] == ["general", "d", "f", "g"]
    hub.feeds.receive("d", [log.append(MemberJoined(user="bob"))])
    await until(lambda: len(hub.feeds.by_room["d"].state.members) == 2)
    assert [*hub.feeds.by_room] == ["general", "d", "g"], "the memory of d has grown"
    await hub.close()


async def test_last_event_after_a_full_slice_comes_before_live_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, hub = world()
    for seq in range(3):
        log.append(MessagePosted(author="alice", content=str(seq), ref="r"))
    await hub.feeds.feed("general")
    await hub.subscriptions.subscribe(
        Recorder("alice", 0), "general", 0
    )  # the room's past is in its ring from now on
    monkeypatch.setattr(catch_up, "SLICE", 4)
    subscriber = Recorder("alice", 0)
    await hub.subscriptions.subscribe(subscriber, "general", 0)
    hub.deliver({STREAM: [log.append(MessagePosted(author="alice", content="live", ref="r"))]})
    assert subscriber.received == [1, 2, 3, 4, 5, 6]
    await hub.close()


async def test_connection_closed_by_its_last_catch_up_write_gets_nothing_more() -> None:
    log, hub = world()
    subscriber = Recorder("alice", 0)
    subscriber.on_ending = lambda: hub.subscriptions.unsubscribe(subscriber, "general")
    subscriber.takes = 2
    await hub.subscriptions.subscribe(subscriber, "general", 0)
    hub.deliver({STREAM: [log.append(MessagePosted(author="alice", content="later", ref="r"))]})
    hub.subscriptions.unsubscribe(subscriber, "general")
    assert subscriber.received == [1, 2]
    assert subscriber.ranges == [(1, 2)]
    assert not hub.audience.live_rooms()
    await hub.close()


async def test_connection_closed_by_the_first_of_two_writes_gets_nothing_more() -> None:
    log, hub = world()
    subscriber = Recorder("alice", 0)
    subscriber.on_ending = lambda: hub.subscriptions.unsubscribe(subscriber, "general")
    await hub.subscriptions.subscribe(subscriber, "general", 0)
    subscriber.takes = 3
    events = [log.append(MessagePosted(author="alice", content=str(number), ref="r")) for number in range(2)]
    hub.deliver({STREAM: events})
    hub.subscriptions.unsubscribe(subscriber, "general")
    assert subscriber.received == [1, 2, 3]
    assert subscriber.ranges == [(1, 3)]
    await hub.close()


async def test_many_that_reconnect_after_a_restart_cost_a_few_reads() -> None:
    log, hub = world()
    for seq in range(200):
        log.append(MessagePosted(author="alice", content=str(seq), ref="r"))
    subscribers = [Recorder("alice", after) for after in range(100, 202)]
    await asyncio.gather(
        *(hub.subscriptions.subscribe(subscriber, "general", subscriber.after) for subscriber in subscribers)
    )
    assert all(subscriber.received == list(range(subscriber.after + 1, 203)) for subscriber in subscribers)
    assert log.pages <= 2, "one for the first, one for all others"
    late = Recorder("alice", 99)
    await hub.subscriptions.subscribe(late, "general", 99)
    assert late.received[0] == 100
    for after in range(98, 0, -1):  # each misses a little more than the one before
        await hub.subscriptions.subscribe(Recorder("alice", after), "general", after)
    assert log.pages <= 4, "each read doubles the range of the ring"
    await hub.close()


async def test_what_is_forgotten_while_it_is_read_again_is_not_remembered() -> None:
    log, hub = world()
    log.append(MessagePosted(author="alice", content="a secret", ref="r"))
    feed = await hub.feeds.feed("general")
    log.held.clear()
    log.asked = 0
    subscriber = Recorder("alice", 0)
    coming = asyncio.create_task(hub.subscriptions.subscribe(subscriber, "general", 0))
    await until(lambda: log.asked)
    log.events[-1] = as_erased(log.events[-1])
    hub.forget_user("alice")
    log.held.set()
    await coming
    assert subscriber.received == [1, 2, 3]
    assert [getattr(one.recorded.event, "content", None) for one in feed.recent(2) or []] == [None]
    await hub.close()


async def test_catch_up_failure_is_reported_and_the_next_subscriber_is_served() -> None:
    log, hub = world()
    await hub.feeds.feed("general")
    log.trouble = Unavailable()
    with pytest.raises(Unavailable):
        await hub.subscriptions.subscribe(Recorder("alice", 0), "general", 0)
    log.trouble = None
    subscriber = Recorder("alice", 0)
    await hub.subscriptions.subscribe(subscriber, "general", 0)
    assert subscriber.received == [1, 2]
    await hub.close()


async def test_a_failed_read_of_one_room_does_not_affect_another() -> None:
    log, hub = world()
    for room in ("general", "broken"):
        await hub.feeds.feed(room)
    log.broken = "room:broken"
    here, there = Recorder("alice", 0), Recorder("alice", 0)
    served, refused = await asyncio.gather(
        hub.subscriptions.subscribe(here, "general", 0),
        hub.subscriptions.subscribe(there, "broken", 0),
        return_exceptions=True,
    )
    assert served is None
    assert isinstance(refused, UnknownTopic)
    assert (here.received, there.received) == ([1, 2], [])
    await hub.close()
