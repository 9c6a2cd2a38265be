"""The log of a drill's rooms, as `onrecord audit replay` prints it, read without the broken parts."""

import asyncpg
import msgspec

from service.audit.history.replay import replay
from service.config.parsers import key
from service.encryption.keyring import KeyRing
from service.errors import RoomNotFound
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from tests.drill.evidence.history import Logged
from tests.support.environment import KEY_ENCRYPTION_KEY
from tests.support.servers.databases import Database


async def read_log(database: Database, rooms: list[str]) -> dict[str, list[Logged]]:
    """Return the events of those rooms that exist."""
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=1) as pool:
        reader = LogReader(pool, EventSerializer(KeyRing(key(KEY_ENCRYPTION_KEY))))
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
