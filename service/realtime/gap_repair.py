"""Reads events that a room lacks from the log: an event is missing, or names a user who is not in the cache.

Invariant: there is one reader per room at a time, and it does not end while a request is open.
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
"""Seconds to wait for an event that may be on its way, before the log is read for it."""

REPAIR_PAUSE = 0.5
"""Seconds between two looks at the log for an event that it does not show yet, or that cannot be read."""

MOST_LOOKS = 10
"""Looks at the log in a row that show nothing new, after which events that wait are taken not to be on the record."""

log = logging.getLogger("onrecord.hub")


class GapRepair:
    """Reads what rooms miss, for as long as they are `in_use`, and has it `delivered`; `looks` counts readings."""

    def __init__(
        self,
        reader: LogReader,
        people: UserCache,
        in_use: Callable[[RoomFeed], bool],
        delivered: Callable[[RoomFeed, list[Recorded]], None],
    ) -> None:
        self._reader = reader
        self._people = people
        self._in_use = in_use
        self._delivered = delivered
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self.looks = 0

    async def close(self) -> None:
        """Read no more."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self, feed: RoomFeed, patience: float = 0.0) -> None:
        """Have a room read, after so many seconds in which what is missing may come."""
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
                asked = feed.room in self._again
                if not more and not feed.gap and not asked:
                    return
                fruitless = 0 if more or asked or feed.head > head else fruitless + 1
                if fruitless >= MOST_LOOKS:
                    # Nodes tell of what is committed, so the log would show it. The tail reader looks after the rest.
                    log.error("not_on_record", extra={"room": feed.room, "seqs": feed.drop_parked()[:10]})
                    return
                pause = 0.0 if more else REPAIR_PAUSE
        finally:
            # Without an await after the last look, so that nothing which asks for a repair is passed over.
            del self._tasks[feed.room]

    async def _read_on(self, feed: RoomFeed) -> bool:
        """Deliver what the log has after a feed's head; return whether there is more."""
        self.looks += 1
        try:
            events = await self._reader.stream(room_stream(feed.room), feed.head, PAGE)
            await self._people.load(named_in(events))
        except Exception as error:
            if not isinstance(error, Unavailable):  # of which the log's reader has told already
                log.exception("repair_failed", extra={"room": feed.room})
            self._again.add(feed.room)
            return False
        self._delivered(feed, events)
        return len(events) == PAGE
