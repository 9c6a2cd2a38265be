"""Replay: a room's events in order, one JSON object a line.

Deterministic: the same range gives the same bytes, but for words that were erased since, and those are marked. Streams
in pages, so a room of any length needs the same memory.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from service.domain.events import Recorded
from service.domain.streams import room_stream
from service.errors import RoomNotFound
from service.log.read import LogReader
from service.protocol.events import timestamp

PAGE = 500


async def replay(
    log: LogReader,
    room: str,
    *,
    from_seq: int | None = None,
    to_seq: int | None = None,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
) -> AsyncIterator[bytes]:
    """Yield a line per event of a room within the bounds, which are inclusive; each ends with a newline.

    Raises:
        RoomNotFound: there is no such room.
    """
    stream = room_stream(room)
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


def line(recorded: Recorded) -> bytes:
    """Return an event as one line of JSON: seq, position, type, by, at, and its own fields."""
    fields: dict[str, Any] = {
        "seq": recorded.seq,
        "position": recorded.position,
        "type": type(recorded.event).__name__,
        "by": recorded.by,
        "at": timestamp(recorded.at),
        **{name: _shown(getattr(recorded.event, name)) for name in recorded.event.__struct_fields__},
    }
    if recorded.erased:
        fields["erased"] = True
    return msgspec.json.encode(fields) + b"\n"


def _shown(value: object) -> object:
    return timestamp(value) if isinstance(value, datetime) else value
