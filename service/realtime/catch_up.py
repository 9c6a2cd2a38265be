"""What is past, written to one listener who catches up: from the feed's ring, or page by page from the log.

What a ring could have and has not, as after a restart, is read into it first: then a crowd that comes back to a room
costs a few readings and not some for each.

The rule: nobody is written more than `SLICE` at once before having taken most of it, and how far they have come is
known after each event. Those who come later are not shown what was deleted since.
"""

import asyncio
from collections.abc import Callable, Iterable

from service.domain.events import Recorded
from service.domain.message import number_of, without_words
from service.domain.streams import room_stream
from service.eventstore.reader import LogReader
from service.realtime.encoded_event import EncodedEvent, Encoders
from service.realtime.room_feed import RING, RoomFeed
from service.realtime.subscriber import DeliveredRange, Subscriber, report
from service.realtime.user_cache import UserCache, named_in
from service.runtime.batch_loader import BatchLoader

PAGE = 200
"""Events read at once from the log to catch up."""

MOST_RECALLED = 8
"""Rooms whose past is read at once, so that a storm leaves connections to everybody else."""

_Wanted = tuple[RoomFeed, int]
"""A feed, and the seq after which somebody misses what it does not remember."""

SLICE = 128 * 1024
"""Bytes written to one listener that catches up, before it has to have taken most of them."""


class CatchUp:
    """Writes the past of rooms; `written` counts events."""

    def __init__(self, reader: LogReader, people: UserCache, encoders: Encoders) -> None:
        self._reader = reader
        self._people = people
        self._encoders = encoders
        self._recalling = BatchLoader(self._recall, MOST_RECALLED)
        self.written = 0

    def write_some(self, listener: Subscriber, items: Iterable[EncodedEvent], reach: DeliveredRange) -> None:
        """Write events until a slice is full, or until the listener takes no more."""
        written = 0
        for item in items:
            if written >= SLICE or listener.closing:
                break
            frame = item.frame(listener.wire_format, listener.user)
            listener.write(frame)
            written += len(frame)
            reach.delivered_up_to = item.recorded.seq
            self.written += 1

    async def send(
        self, listener: Subscriber, room: str, reach: DeliveredRange, last: int, readable: Callable[[], int]
    ) -> None:
        """Send a page of the log up to a seq, paced; `readable` returns how far the listener may read by then."""
        found = await self._read(room, reach.delivered_up_to, PAGE, last)
        # A slow reader takes minutes for a page, and a ban in the middle of it ends it.
        while not listener.closing and (items := _between(found, reach.delivered_up_to, readable())):
            self.write_some(listener, items, reach)
            await listener.drained()
        if not found:  # nothing stands there, so nothing of it was written
            report(listener, room, reach)
            reach.after = reach.delivered_up_to = last

    async def recall(self, feed: RoomFeed, after: int) -> None:
        """Have a feed that `lacks` what came after a seq remember that, or as much of it as it can.

        Raises:
            Unavailable: the log cannot be read.
        """
        await self._recalling.load([(feed, after)])

    async def _recall(self, wanted: list[_Wanted]) -> dict[_Wanted, Exception | None]:
        lowest: dict[RoomFeed, int] = {}
        for feed, after in wanted:
            lowest[feed] = min(after, lowest.get(feed, after))
        filled = await asyncio.gather(*map(self._fill, lowest, lowest.values()), return_exceptions=True)
        became = dict(zip(lowest, filled, strict=True))
        # What is wrong with one room is the trouble of those who come back to it.
        return {(feed, after): _trouble(became[feed]) for feed, after in wanted}

    async def _fill(self, feed: RoomFeed, after: int) -> None:
        if not feed.can_recall(after):
            return  # it was read for others meanwhile
        removals, first = feed.removals, feed.first
        # At least as far again as it reaches: those who missed a little more each cost few readings in all.
        twice = first - 1 - (feed.head + 1 - first)
        past = await self._read(feed.room, max(0, feed.head - RING, min(after, twice)), RING, first - 1)
        if feed.removals == removals:
            feed.recall(past)

    async def _read(self, room: str, after: int, most: int, last: int) -> list[EncodedEvent]:
        events = await self._reader.stream(room_stream(room), after, most, last)
        await self._people.load(named_in(events))
        shown = await self._without_deleted(room, events)
        return [EncodedEvent(recorded, self._people.name_of, self._encoders) for recorded in shown]

    async def _without_deleted(self, room: str, events: list[Recorded]) -> list[Recorded]:
        """Return past events as whoever comes later is shown them: what was deleted since says nothing."""
        said = {recorded.seq: number for recorded in events if (number := number_of(recorded)) is not None}
        gone = await self._reader.deleted(room, set(said.values()))
        return [without_words(one) if said.get(one.seq) in gone else one for one in events]


def _between(items: Iterable[EncodedEvent], after: int, last: int) -> list[EncodedEvent]:
    return [item for item in items if after < item.recorded.seq <= last]


def _trouble(became: BaseException | None) -> Exception | None:
    if became is not None and not isinstance(became, Exception):
        raise became  # this is being ended
    return became
