"""Streams the log as lines in log order, from any position; a followed stream goes on as events are appended.

The cursor is the position, which every line carries: a disconnected client continues after the last line it received.
Nothing else is kept between two reads, so memory use depends neither on the log's length nor on the reader's speed.

Invariant: a line is the same at every read, except that content erased since is marked as erased.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import msgspec

from service.audit.history.event_selection import select
from service.audit.history.format import as_json
from service.domain.events import Recorded
from service.domain.streams import room_stream
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.event_queries import EventFilter
from service.eventstore.notifications import Waker

PAGE = 500
"""Events per read: a few milliseconds of work, so that chat on the same node is not delayed."""

SPAN = 20_000
"""Positions scanned per query when few events match."""

KEEPALIVE = 15.0
"""Seconds of silence after which a followed stream sends an empty line, to reveal a dead connection."""

_FIRST = datetime.min.replace(tzinfo=UTC)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The events to stream: after a position, between two times (inclusive), that pass a filter with `fields`."""

    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    which: EventFilter = EventFilter()


class Stream:
    """The log as lines. While following, it reads at every wake-up of `waker` and every `interval` seconds."""

    def __init__(self, reader: AsOfReader, waker: Waker, interval: float) -> None:
        self._reader = reader
        self._waker = waker
        self._interval = interval

    async def lines(self, wanted: Selection, end: int) -> AsyncIterator[bytes]:
        """Yield lines up to the position `end`, a page at a time.

        Raises:
            Unavailable: the log cannot be read.
        """
        after, upto = await self._bounds(wanted, end)
        async for events in self._events(wanted, after, upto):
            if events:
                yield b"".join(as_json(recorded, stream=True) for recorded in events)

    async def follow(self, wanted: Selection, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield lines as events are appended, until `is_over` returns true; an empty line after `KEEPALIVE`.

        Raises:
            Unavailable: the log cannot be read.
        """
        clock = asyncio.get_running_loop().time
        cursor, last_sent = wanted.after, clock()
        while not is_over():
            wakes, end = self._waker.count, await self._reader.position()
            async for lines in self.lines(msgspec.structs.replace(wanted, after=cursor), end):
                if is_over():  # checked per page, because the backlog can be long
                    return
                yield lines
                last_sent = clock()
            cursor = max(cursor, end)
            if clock() - last_sent >= KEEPALIVE:
                yield b"\n"
                last_sent = clock()
            await self._waker.after(wakes, self._interval)

    async def _bounds(self, wanted: Selection, end: int) -> tuple[int, int]:
        after = wanted.after
        if wanted.since is not None and wanted.since > _FIRST:
            after = max(after, await self._reader.position_at(wanted.since - timedelta.resolution))
        if wanted.until is not None:
            end = min(end, await self._reader.position_at(wanted.until))
        return after, end

    async def _events(self, wanted: Selection, after: int, upto: int) -> AsyncIterator[list[Recorded]]:
        which = wanted.which
        if which.room is not None and (which.topic or "").startswith("room."):
            async for page in self._room_events(which.room, after, upto):
                yield await select(self._reader, page, which)
            return
        while after < upto:
            span = min(after + SPAN, upto)
            page = await self._reader.events_between(after, span, which, PAGE)
            yield await select(self._reader, page, which)
            after = page[-1].position if len(page) == PAGE else span

    async def _room_events(self, room: str, after: int, upto: int) -> AsyncIterator[list[Recorded]]:
        """Yield a room's events by seq, which rises with the position and is indexed."""
        stream = room_stream(room)
        seq = await self._reader.seq_at(stream, after)
        while page := await self._reader.page(stream, seq, upto, PAGE):
            seq = page[-1].seq
            yield page
