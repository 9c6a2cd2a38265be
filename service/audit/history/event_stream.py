"""The whole log as lines, in the order in which it happened: from any position on, if wanted for as long as it grows.

The cursor is the position, which every line has: whoever is cut off asks again with `after` the last one. Between two
reads nothing is kept but that number, so a log of any length takes the same memory, and slow readers cost nothing.

The rule: a line is the same whenever it is read, but for words that were erased since, and those are marked.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import msgspec

from service.audit.history.format import as_json
from service.domain.events import Recorded
from service.domain.streams import room_stream
from service.eventstore.as_of_reader import AsOfReader, EventFilter
from service.eventstore.notifications import Waker

PAGE = 500
"""Events read at a time: few milliseconds of a node's time, so that a chat beside it is not kept waiting."""

SPAN = 20_000
"""Positions looked through at a time, where few events are wanted."""

BREATH = 15.0
"""Seconds of silence after which an empty line is sent while following, so that a dead connection shows."""


_FIRST = datetime.min.replace(tzinfo=UTC)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: after a position, and from one time to another, both inclusive; in one room or any."""

    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    room: str | None = None
    which: EventFilter = EventFilter()


class Stream:
    """The log as lines. Every `interval` seconds, and at every ring of the bell, whoever follows looks for more."""

    def __init__(self, past: AsOfReader, bell: Waker, interval: float) -> None:
        self._past = past
        self._bell = bell
        self._interval = interval

    async def lines(self, wanted: Wanted, end: int) -> AsyncIterator[bytes]:
        """Yield the lines of the log up to the position `end`, some at a time.

        Raises:
            Unavailable: the log cannot be read.
        """
        after, upto = await self._bounds(wanted, end)
        async for events in self._events(wanted, after, upto):
            if events:
                yield b"".join(as_json(recorded, stream=True) for recorded in events)

    async def follow(self, wanted: Wanted, over: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield lines as they come, until it is `over`; an empty one now and then.

        Raises:
            Unavailable: the log cannot be read.
        """
        clock = asyncio.get_running_loop().time
        cursor, spoke = wanted.after, clock()
        while not over():
            rung, end = self._bell.count, await self._past.position()
            async for some in self.lines(msgspec.structs.replace(wanted, after=cursor), end):
                if over():  # long before all that was there is told, perhaps
                    return
                yield some
                spoke = clock()
            cursor = max(cursor, end)
            if clock() - spoke >= BREATH:
                yield b"\n"
                spoke = clock()
            await self._bell.after(rung, self._interval)

    async def _bounds(self, wanted: Wanted, end: int) -> tuple[int, int]:
        after = wanted.after
        if wanted.since is not None and wanted.since > _FIRST:
            after = max(after, await self._past.position_at(wanted.since - timedelta.resolution))
        if wanted.until is not None:
            end = min(end, await self._past.position_at(wanted.until))
        return after, end

    async def _events(self, wanted: Wanted, after: int, upto: int) -> AsyncIterator[list[Recorded]]:
        if wanted.room is not None:
            async for page in self._of_room(wanted.room, after, upto):
                yield [recorded for recorded in page if is_wanted(recorded, wanted.which)]
            return
        while after < upto:
            span = min(after + SPAN, upto)
            page = await self._past.stretch(after, span, wanted.which, PAGE)
            yield page
            after = page[-1].position if len(page) == PAGE else span

    async def _of_room(self, room: str, after: int, upto: int) -> AsyncIterator[list[Recorded]]:
        """A room's own numbers rise with the positions, and lead to its events at once."""
        stream = room_stream(room)
        seq = await self._past.seq_at(stream, after)
        while page := await self._past.page(stream, seq, upto, PAGE):
            seq = page[-1].seq
            yield page


def is_wanted(recorded: Recorded, which: EventFilter) -> bool:
    """Return whether an event is among `which`, by the same rule as `AsOfReader.stretch`."""
    if which.topic is not None and which.topic != recorded.event.TOPIC:
        return False
    about = recorded.by == which.person or recorded.subject == which.subject
    return which.person is None or about or recorded.stream in which.streams
