"""The log of a drill's rooms, as `onrecord audit replay` prints it, read past everything that was broken."""

import asyncpg
import msgspec

from service.audit.replay import replay
from service.errors import RoomNotFound
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.log.read import LogReader
from service.values import key
from tests.databases import Database
from tests.drill.history import Logged
from tests.whole.processes import KEY_ENCRYPTION_KEY


async def read_log(database: Database, rooms: list[str]) -> dict[str, list[Logged]]:
    """Return the events of those rooms that exist."""
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=1) as pool:
        reader = LogReader(pool, Mapper(KeyRing(key(KEY_ENCRYPTION_KEY))))
        return {room: events for room in rooms if (events := await _events(reader, room))}


async def _events(reader: LogReader, room: str) -> list[Logged]:
    try:
        return [_logged(room, line) async for line in replay(reader, room)]
    except RoomNotFound:
        return []


def _logged(room: str, line: bytes) -> Logged:
    event = msgspec.json.decode(line)
    return Logged(
        room=room,
        seq=event["seq"],
        type=event["type"],
        by=event["by"],
        at=event["at"],
        user=event.get("author") or event.get("user"),
        content=event.get("content"),
        ref=event.get("ref"),
    )
