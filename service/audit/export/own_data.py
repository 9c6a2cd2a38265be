"""Exports a user's own data on the user's request: the events by and about the user, an event a line, by position.

An operator's export of the person (`service.audit.export.scope.OnePerson`) has these events too, with their proofs.
Events about the user that are confidential are left out here: readings and legal holds of others, and the blocks of
others.

Invariant: an export is on the record before its first line is read, and a user begins at most one per interval, on all
nodes together. Memory use does not depend on its length. All exports of a node use at most `MAX_QUERIES` connections to
the database, half of the time, so they delay no one.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable

from service.audit.access_log import request_of
from service.audit.history.format import as_json
from service.domain.events import AuditRead, Recorded
from service.domain.streams import AUDIT, HOLDS, person_stream, session_stream, user_subject
from service.errors import Overloaded, TooManyRequests
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.entries import AppendRequest, AppendResult, append_decided
from service.eventstore.event_queries import EventFilter
from service.eventstore.serializer import EventSerializer

PAGE = 20
"""Events per query, of at most some 40 KB each; an export that waits for a slow client holds one page."""

SPAN = 20_000
"""Positions scanned per query when few events match."""

MAX_EXPORTS = 100
"""Exports under way on a node; one more is refused with a retryable error, and is not recorded."""

MAX_QUERIES = 2
"""Concurrent queries of all exports of a node."""

WHAT = "own data"
"""The kind of reading under which an export is recorded."""


class OwnData:
    """Exports users' own data; `interval` is the least number of seconds between two exports of one user."""

    def __init__(
        self,
        reader: AsOfReader,
        append: Callable[[AppendRequest], Awaitable[AppendResult]],
        serializer: EventSerializer,
        interval: float,
    ) -> None:
        self._reader = reader
        self._append = append
        self._serializer = serializer
        self._interval = interval
        self._sending = 0
        self._queries = asyncio.Semaphore(MAX_QUERIES)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        """Record an export, and return its lines.

        Raises:
            TooManyRequests: the last export of the user began less than the interval ago.
            Overloaded, Unavailable: the export cannot be recorded now.
        """
        if self._sending >= MAX_EXPORTS:
            raise Overloaded
        end = await self._reader.position()
        await self._record(user)
        return self._lines(user, end)

    async def _record(self, user: str) -> None:
        subject = user_subject(user)
        reading = AuditRead(what=WHAT, via="http", person=user)

        async def decide() -> AppendRequest:
            head = await self._reader.head(AUDIT)
            last = await self._reader.newest_by(AUDIT, subject, user) if self._interval else None
            if last is not None:
                wait = self._interval - (await self._reader.now() - last.at).total_seconds()
                if wait > 0:
                    raise TooManyRequests(retryAfter=float(math.ceil(wait)))
            return request_of(self._serializer, reading, user, decided_on=head, guard=(subject,))

        result = await append_decided(decide, self._append)
        if result is None or result.outcome != "appended":
            raise Overloaded

    async def _lines(self, user: str, end: int) -> AsyncIterator[bytes]:
        self._sending += 1
        try:
            after = 0
            while after < end:
                lines, after = await self._page(user, after, end)
                if lines:
                    yield lines
        finally:
            self._sending -= 1

    async def _page(self, user: str, after: int, end: int) -> tuple[bytes, int]:
        """Return the lines of the next events after a position, and the position up to which they are complete."""
        clock = asyncio.get_running_loop().time
        until = min(after + SPAN, end)
        async with self._queries:
            began = clock()
            page = await self._reader.events_between(after, until, EventFilter(person=user), PAGE)
            # The place is kept while the database rests as long as it worked.
            await asyncio.sleep(clock() - began)
        lines = b"".join(as_json(recorded, stream=True) for recorded in page if is_shown(recorded, user))
        return lines, page[-1].position if len(page) == PAGE else until


def is_shown(recorded: Recorded, user: str) -> bool:
    """Return whether an event by or about a user is part of the data that the user may export."""
    if recorded.by == user or recorded.stream in (person_stream(user), session_stream(user)):
        return True
    return recorded.stream not in (AUDIT, HOLDS) and not recorded.stream.startswith("person:")
