"""Replay: a room's events in order, one per line.

The same range gives the same bytes, except that content erased since is marked as erased. Events are read in pages, so
a room of any length takes the same memory.
"""

from collections.abc import AsyncIterator
from datetime import datetime

from service.audit.history.format import Form, as_json, as_text
from service.audit.history.names import Names
from service.domain.streams import room_stream
from service.errors import RoomNotFound
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.reader import LogReader

PAGE = 500


async def replay(
    log: LogReader,
    room: str,
    *,
    from_seq: int | None = None,
    to_seq: int | None = None,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    form: Form = "ndjson",
    people: AsOfReader | None = None,
) -> AsyncIterator[bytes]:
    """Yield one line, with its newline, for each event of a room within the inclusive bounds.

    As text, people have the names that they had at the end of the range; `people` reads them.

    Raises:
        RoomNotFound: the room does not exist.
    """
    stream = room_stream(room)
    if not await log.head(stream):
        raise RoomNotFound(room=room)
    names = Names(people, await _end(people, stream, to_seq, to_time)) if people is not None else None
    cursor = (from_seq or 1) - 1
    while events := await log.stream(stream, cursor, PAGE, to_seq):
        cursor = events[-1].seq
        shown = await names.in_events(events) if names is not None else {}
        for recorded in events:
            if to_time is not None and recorded.at > to_time:
                return  # a room's times never decrease
            if from_time is None or recorded.at >= from_time:
                yield as_json(recorded) if form == "ndjson" else as_text(recorded, shown)


async def _end(people: AsOfReader, stream: str, to_seq: int | None, to_time: datetime | None) -> int:
    """Return the position of the end of a range."""
    ends = [await people.position()]
    if to_seq is not None and (last := await people.event(stream, to_seq)) is not None:
        ends.append(last.position)
    if to_time is not None:
        ends.append(await people.position_at(to_time))
    return min(ends)
