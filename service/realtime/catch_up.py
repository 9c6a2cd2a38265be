"""Sends past events to a subscriber that catches up: from the feed's ring, or page by page from the log.

After a restart the ring is empty. Events that fit into it are read into it first (backfilled), so that many subscribers
that return to a room at once together cost a few reads of the log.

Invariant: after at most `SLICE` bytes, the next write waits until the subscriber is `drained`. Its delivered range is
exact after each event. It does not receive the content of messages that were deleted since.
"""

import asyncio
from collections.abc import Callable, Iterable

from service.domain.events import Recorded
from service.domain.message import number_of, without_words
from service.domain.streams import room_stream
from service.eventstore.reader import LogReader
from service.realtime.encoded_event import EncodedEvent, Encoders
from service.realtime.room_feed import RoomFeed
from service.realtime.room_memory import RING
from service.realtime.subscriber import DeliveredRange, Subscriber, report
from service.realtime.user_cache import UserCache, named_in
from service.runtime.batch_loader import BatchLoader

PAGE = 200
"""Events in one read of the log."""

MAX_BACKFILLS = 8
"""Rooms backfilled at one time, so that a reconnect storm leaves database connections for other work."""

_Wanted = tuple[RoomFeed, int]
"""A feed, and the seq after which a subscriber needs events."""

SLICE = 128 * 1024
"""Bytes written to a subscriber that catches up before the next wait for `drained`."""


class CatchUp:
    """Writes past events; `written` counts them."""

    def __init__(self, reader: LogReader, people: UserCache, encoders: Encoders) -> None:
        self._reader = reader
        self._people = people
        self._encoders = encoders
        self._backfills = BatchLoader(self._backfill, MAX_BACKFILLS)
        self.written = 0

    def write_some(
        self, subscriber: Subscriber, items: Iterable[EncodedEvent], delivered: DeliveredRange
    ) -> None:
        """Write events until a slice is full or the subscriber is closing."""
        written = 0
        for item in items:
            if written >= SLICE or subscriber.closing:
                break
            frame = item.frame(subscriber.wire_format, subscriber.user)
            subscriber.write(frame)
            written += len(frame)
            delivered.delivered_up_to = item.recorded.seq
            self.written += 1

    async def send(
        self,
        subscriber: Subscriber,
        room: str,
        delivered: DeliveredRange,
        last: int,
        readable: Callable[[], int],
    ) -> None:
        """Send a page of the log up to the seq `last`, paced; `readable` returns the last seq that may be read now."""
        page = await self._read(room, delivered.delivered_up_to, PAGE, last)
        # A page to a slow reader takes minutes, and a ban may end it in between.
        while not subscriber.closing:
            first, end = delivered.delivered_up_to, readable()
            items = [item for item in page if first < item.recorded.seq <= end]
            if not items:
                break
            self.write_some(subscriber, items, delivered)
            await subscriber.drained()
        if not page:  # the log has no events in this range, so they must not be reported as written
            report(subscriber, room, delivered)
            delivered.after = delivered.delivered_up_to = last

    async def backfill(self, feed: RoomFeed, after: int) -> None:
        """Read the events after a seq into the ring of a feed, as many as fit.

        Raises:
            Unavailable: the log cannot be read.
        """
        await self._backfills.load([(feed, after)])

    async def _backfill(self, wanted: list[_Wanted]) -> dict[_Wanted, Exception | None]:
        lowest: dict[RoomFeed, int] = {}
        for feed, after in wanted:
            lowest[feed] = min(after, lowest.get(feed, after))
        filled = await asyncio.gather(*map(self._fill, lowest, lowest.values()), return_exceptions=True)
        outcomes = dict(zip(lowest, filled, strict=True))
        # A failed read of one room fails only the callers that wait for that room.
        return {(feed, after): _error(outcomes[feed]) for feed, after in wanted}

    async def _fill(self, feed: RoomFeed, after: int) -> None:
        if not feed.can_backfill(after):
            return  # an earlier batch has read the events
        removals, first = feed.removals, feed.first
        # The ring at least doubles, so that subscribers of which each missed a little more cost few reads.
        double = first - 1 - (feed.head + 1 - first)
        past = await self._read(feed.room, max(0, feed.head - RING, min(after, double)), RING, first - 1)
        if feed.removals == removals:
            feed.backfill(past)

    async def _read(self, room: str, after: int, most: int, last: int) -> list[EncodedEvent]:
        events = await self._reader.stream(room_stream(room), after, most, last)
        await self._people.load(named_in(events))
        readable = await self._without_deleted(room, events)
        return [EncodedEvent(recorded, self._people.name_of, self._encoders) for recorded in readable]

    async def _without_deleted(self, room: str, events: list[Recorded]) -> list[Recorded]:
        """Return events without the content of messages that were deleted since."""
        messages = {
            recorded.seq: number for recorded in events if (number := number_of(recorded)) is not None
        }
        deleted = await self._reader.deleted(room, set(messages.values()))
        return [
            without_words(recorded) if messages.get(recorded.seq) in deleted else recorded
            for recorded in events
        ]


def _error(outcome: BaseException | None) -> Exception | None:
    if outcome is not None and not isinstance(outcome, Exception):
        raise outcome  # the read was cancelled
    return outcome
