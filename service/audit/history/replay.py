"""Replay: a room's events in order, one per line.

The same range gives the same bytes, except that content erased since is marked as erased. Events are read in pages, so
a room of any length takes the same memory.
"""

from collections.abc import AsyncIterator
from datetime import datetime

from service.audit.history.format import Form, as_json, as_text
from service.domain.streams import room_stream
from service.errors import RoomNotFound
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
) -> AsyncIterator[bytes]:
    """Yield one line, with its newline, for each event of a room within the inclusive bounds.

    Raises:
        RoomNotFound: the room does not exist.
    """
    stream, line = room_stream(room), as_json if form == "ndjson" else as_text
    if not await log.head(stream):
        raise RoomNotFound(room=room)
    cursor = (from_seq or 1) - 1
    while events := await log.stream(stream, cursor, PAGE, to_seq):
        cursor = events[-1].seq
        for recorded in events:
            if to_time is not None and recorded.at > to_time:
                return  # a room's times never decrease
            if from_time is None or recorded.at >= from_time:
                yield line(recorded)
