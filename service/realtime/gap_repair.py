"""Reads the log for a room that cannot apply its events: one is missing, or names a user who is not in the cache.

Invariant: one task per room reads at a time, and it does not end while a request is open.
"""

import asyncio
import logging
from collections.abc import Callable

from service.domain.events import Recorded
from service.domain.streams import room_stream
from service.errors import Unavailable
from service.eventstore.reader import LogReader
from service.realtime.catch_up import PAGE
from service.realtime.room_feed import RoomFeed
from service.realtime.user_cache import UserCache, named_in

PATIENCE = 0.02
"""Seconds to wait for an event that may be on its way, before the log is read."""

REPAIR_PAUSE = 0.5
"""Seconds before the next read if the log does not show the event yet, or the read failed."""

MAX_FRUITLESS_READS = 10
"""Consecutive reads without a new event after which parked events count as not on the record."""

log = logging.getLogger("onrecord.hub")


class GapRepair:
    """Reads the events that a feed lacks, while it is `in_use`, and passes them to `deliver`; `reads` counts reads."""

    def __init__(
        self,
        reader: LogReader,
        people: UserCache,
        in_use: Callable[[RoomFeed], bool],
        deliver: Callable[[RoomFeed, list[Recorded]], None],
    ) -> None:
        self._reader = reader
        self._people = people
        self._in_use = in_use
        self._deliver = deliver
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self.reads = 0

    async def close(self) -> None:
        """Cancel all reads."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def request(self, feed: RoomFeed, patience: float = 0.0) -> None:
        """Start to read a room after `patience` seconds, in which the missing event may arrive."""
        if feed.room in self._tasks:
            self._again.add(feed.room)
        else:
            self._tasks[feed.room] = asyncio.create_task(self._read_missing(feed, patience))

    async def _read_missing(self, feed: RoomFeed, patience: float) -> None:
        pause = patience
        fruitless = 0
        try:
            while self._in_use(feed):
                await asyncio.sleep(pause)
                self._again.discard(feed.room)
                head = feed.head
                more = await self._read_on(feed)
                again = feed.room in self._again
                if not more and not feed.gap and not again:
                    return
                fruitless = 0 if more or again or feed.head > head else fruitless + 1
                if fruitless >= MAX_FRUITLESS_READS:
                    # Nodes send only committed events, so the log would show these. The log tailer reads the others.
                    log.error("not_on_record", extra={"room": feed.room, "seqs": feed.drop_parked()[:10]})
                    return
                pause = 0.0 if more else REPAIR_PAUSE
        finally:
            # There is no await after the last check of `_again`, so no request is lost.
            del self._tasks[feed.room]

    async def _read_on(self, feed: RoomFeed) -> bool:
        """Deliver a page of the log after the head of a feed; return whether there may be more."""
        self.reads += 1
        try:
            events = await self._reader.stream(room_stream(feed.room), feed.head, PAGE)
            await self._people.load(named_in(events))
        except Exception as error:
            if not isinstance(error, Unavailable):  # which the reader has logged
                log.exception("repair_failed", extra={"room": feed.room})
            self._again.add(feed.room)
            return False
        self._deliver(feed, events)
        return len(events) == PAGE
