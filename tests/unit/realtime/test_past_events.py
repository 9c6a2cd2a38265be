"""What is read from the log again: pages for a catch-up, events that a room lacks, and places to compare."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from service.domain.events import MemberJoined, MessagePosted, Recorded, RoomOpened
from service.domain.room_state import RoomState
from service.errors import Unavailable
from service.eventstore.reader import Place
from service.protocol.native import encode
from service.realtime import catch_up, gap_repair
from service.realtime.catch_up import CatchUp
from service.realtime.gap_repair import GapRepair
from service.realtime.hub import Hub
from service.realtime.log_tailer import LogTailer
from service.realtime.room_feed import RoomFeed
from service.realtime.room_memory import RING_BYTES, RingMemory
from service.realtime.subscriber import DeliveredRange
from tests.support.realtime.subscribers import Log, Recorder, number
from tests.support.waiting import until

if TYPE_CHECKING:
    from service.protocol.events import Outgoing


class People:
    """A cache in which each user has their id as name."""

    async def load(self, _users: object) -> None:
        return

    def knows(self, _user: str) -> bool:
        return True

    def name_of(self, user: str) -> str:
        return user


class PastLog(Log):
    """A log of four messages, of which `gone` are deleted; its next `failures` reads fail."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[int] = set()
        self.failures = 0
        for text in ("a secret", "two", "three", "four"):
            self.append(MessagePosted(author="bob", content=text, ref="r"))

    async def stream(self, stream: str, after: int, limit: int, until: int | None = None) -> list[Recorded]:
        if self.failures:
            self.failures -= 1
            raise Unavailable
        return await super().stream(stream, after, limit, until)

    async def deleted(self, _room: str, messages: object) -> set[int]:
        return self.gone & cast("set[int]", messages)


PEOPLE: Any = People()


async def test_a_catch_up_sends_no_content_of_a_message_deleted_since() -> None:
    log, sent = PastLog(), []

    def encoder(outgoing: "Outgoing") -> bytes:
        sent.append(encode(outgoing))
        return number(outgoing)

    log.gone = {1}
    past = CatchUp(cast("Any", log), PEOPLE, {"number": encoder})
    reader = Recorder("alice", 0)
    await past.send(reader, "general", DeliveredRange(0), 4, lambda: 4)
    assert reader.received == [1, 2, 3, 4]
    assert b"a secret" not in b"".join(sent)
    assert b"three" in b"".join(sent)


async def test_a_catch_up_ends_where_its_user_may_read_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "SLICE", 1)  # one event at a time
    reader = Recorder("alice", 0)
    past = CatchUp(cast("Any", PastLog()), PEOPLE, {"number": number})
    await past.send(reader, "general", DeliveredRange(0), 4, lambda: 4 if len(reader.received) < 2 else 2)
    assert reader.received == [1, 2]


class Paced(Recorder):
    """A subscriber that takes what it was written a turn of the loop later; `most` is the largest unsent size."""

    def __init__(self, user: str) -> None:
        super().__init__(user, 0)
        self.unsent = self.most = 0
        self.writable = asyncio.Event()
        self.writable.set()

    def write(self, frame: bytes) -> None:
        super().write(frame)
        self.unsent += len(frame)
        self.most = max(self.most, self.unsent)
        if self.writable.is_set():
            self.writable.clear()
            asyncio.get_running_loop().call_soon(self.take)

    def take(self) -> None:
        self.unsent = 0
        self.writable.set()

    async def drained(self) -> None:
        await self.writable.wait()  # all that wait go on in the same turn, as with a socket


class LongLog(Log):
    """A log of 450 events that counts the events of each read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.append(RoomOpened(name="General"))
        self.append(MemberJoined(user="alice", role="owner"))
        for seq in range(3, 451):
            self.append(MessagePosted(author="bob", content=str(seq), ref="r"))

    async def stream(self, stream: str, after: int, limit: int, until: int | None = None) -> list[Recorded]:
        events = await super().stream(stream, after, limit, until)
        self.reads.append(len(events))
        return events


FRAME = 3
"""Bytes of the largest frame that `number` makes here."""


async def test_a_catch_up_from_the_log_is_bounded_in_what_it_reads_and_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catch_up, "SLICE", 30)
    log, reader, delivered = LongLog(), Paced("alice"), DeliveredRange(0)
    past = CatchUp(cast("Any", log), PEOPLE, {"number": number})
    while delivered.delivered_up_to < 440:
        await past.send(reader, "general", delivered, 440, lambda: 440)
    assert reader.received == [*range(1, 441)]
    assert log.reads == [200, 200, 40]
    assert 30 <= reader.most < 30 + FRAME


async def test_a_catch_up_from_memory_is_bounded_in_what_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "SLICE", 30)
    log = LongLog()
    log.events = log.events[:200]
    hub = Hub(cast("Any", log), PEOPLE, {"number": number})
    await hub.feeds.feed("general")
    await hub.subscriptions.subscribe(
        Recorder("alice", 0), "general", 0
    )  # the room's past is in its ring now
    reads, reader = len(log.reads), Paced("alice")
    await hub.subscriptions.subscribe(reader, "general", 0)
    assert reader.received == [*range(1, 201)]
    assert len(log.reads) == reads
    assert 30 <= reader.most < 30 + FRAME
    await hub.close()


async def test_catch_ups_of_one_subscriber_in_many_rooms_share_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catch_up, "SLICE", 30)
    log = LongLog()
    log.events = log.events[:200]
    hub = Hub(cast("Any", log), PEOPLE, {"number": number})
    reader = Paced("alice")
    rooms = [f"room{place}" for place in range(5)]
    for room in rooms:
        await hub.feeds.feed(room)
    await asyncio.gather(*(hub.subscriptions.subscribe(reader, room, 0) for room in rooms))
    assert sorted(reader.received) == sorted([*range(1, 201)] * 5)
    assert 30 <= reader.most < 30 + FRAME
    await hub.close()


async def test_numbers_that_the_log_lacks_are_not_reported_as_written() -> None:
    log, reader, delivered = PastLog(), Recorder("alice", 0), DeliveredRange(0)
    past = CatchUp(cast("Any", log), PEOPLE, {"number": number})
    await past.send(reader, "general", delivered, 9, lambda: 9)
    await past.send(reader, "general", delivered, 9, lambda: 9)
    assert reader.received == [1, 2, 3, 4]
    assert reader.ranges == [(1, 4)]
    assert (delivered.after, delivered.delivered_up_to) == (9, 9)


async def test_a_repair_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap_repair, "REPAIR_PAUSE", 0)
    log, delivered = PastLog(), []
    log.failures = 3
    repairs = GapRepair(
        cast("Any", log), PEOPLE, lambda _feed: True, lambda _feed, events: delivered.extend(events)
    )
    repairs.request(RoomFeed(RoomState("general"), RingMemory(RING_BYTES)))
    await until(lambda: not repairs._tasks)
    assert delivered == log.events
    assert repairs.reads == 4


@pytest.mark.parametrize(
    ("changed", "resynced"),
    [({}, []), ({"position": 7}, ["general"]), ({"seq": 3}, ["general"])],
    ids=["the same", "another event at its place", "none there"],
)
async def test_a_room_with_an_event_that_is_not_on_the_record_is_loaded_again(
    changed: dict[str, int], resynced: list[str]
) -> None:
    log = PastLog()
    received = {"general": log.events[-1]}
    again: list[str] = []
    hub: Any = SimpleNamespace(unverified=dict(received), resync=again.append)
    unused: Any = None
    tailer = LogTailer(
        unused, hub, 1.0,
        affected=unused, persons=unused, expired=unused, reported=unused, renewed=unused,
    )  # fmt: skip
    on_record = msgspec.structs.replace(log.events[-1], **changed)
    place = Place(on_record.stream, on_record.seq, on_record.position, on_record.at)

    async def places(wanted: list[tuple[str, int]]) -> list[Place]:
        return [place] if (place.stream, place.seq) in wanted else []

    tailer._reader = cast("Any", SimpleNamespace(places=places))
    await tailer._compare(received, {"general": place})
    assert again == resynced
    assert set(hub.unverified) == set(resynced)
