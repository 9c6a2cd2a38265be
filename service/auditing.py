"""What the commands that read the record run, put together from the parts; beside `service.app`, by the same rule."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

from service.audit.as_of import AsOf
from service.audit.replay import replay
from service.errors import Refusal
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.log.past import PastReader
from service.log.read import LogReader
from service.node import pool
from service.protocol.audit import Moment
from service.settings import Settings


def run_replay(
    settings: Settings,
    room: str,
    from_seq: int | None,
    to_seq: int | None,
    from_time: datetime | None,
    to_time: datetime | None,
) -> int:
    """`onrecord audit replay`: NDJSON; 1 where there is no such room."""

    async def lines(database: Any, mapper: Mapper) -> AsyncIterator[bytes]:
        bounds: dict[str, Any] = {"from_seq": from_seq, "to_seq": to_seq}
        return replay(LogReader(database, mapper), room, **bounds, from_time=from_time, to_time=to_time)

    return _print(settings, lines)


def run_room(settings: Settings, room: str, at: Moment, since: Moment) -> int:
    """`onrecord audit room`: JSON, of a moment or of what changed since another; 1 where there was no such room."""

    async def document(database: Any, mapper: Mapper) -> AsyncIterator[bytes]:
        rooms = AsOf(PastReader(database, mapper, settings.database_timeout))
        return await (rooms.room(room, at) if since is None else rooms.changes(room, since, at))

    return _print(settings, document)


def _print(settings: Settings, read: Callable[[Any, Mapper], Awaitable[AsyncIterator[bytes]]]) -> int:
    """Print what is read, piece by piece; 1 and a sentence where what it asks for is not there."""

    async def run() -> None:
        async with pool(settings) as database:
            async for piece in await read(database, Mapper(KeyRing(settings.key_encryption_key))):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    try:
        asyncio.run(run())
    except Refusal as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - a command's words
        return 1
    return 0
