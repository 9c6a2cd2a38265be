"""The commands that read the record: replay, a room as of a moment, what one person could see.

Each reading is recorded first, in the name of the operating system's user.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from service.audit.access_log import AccessLog, NotRecorded
from service.audit.history.as_of import AsOf
from service.audit.history.format import Form
from service.audit.history.person_view import PersonViews
from service.audit.history.replay import replay
from service.cli.output import say
from service.config.operator import operator
from service.config.settings import Settings
from service.domain.events import AuditRead
from service.encryption.keyring import KeyRing
from service.errors import Refusal
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.entries import append_one
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.node.storage import open_pool
from service.protocol.events import timestamp
from service.protocol.room_as_of import Moment
from service.runtime.malloc import pin_mmap_threshold


def run_replay(
    settings: Settings,
    room: str,
    from_seq: int | None,
    to_seq: int | None,
    from_time: datetime | None,
    to_time: datetime | None,
    form: Form,
) -> int:
    """`onrecord audit replay`: a line an event; 1 where there is no such room."""
    asked = asked_for(from_seq=from_seq, to_seq=to_seq, **{"from": from_time, "to": to_time})

    async def lines(database: Any, serializer: EventSerializer) -> AsyncIterator[bytes]:
        bounds: dict[str, Any] = {"from_seq": from_seq, "to_seq": to_seq, "from_time": from_time}
        return replay(LogReader(database, serializer), room, **bounds, to_time=to_time, form=form)

    return _print(settings, AuditRead(what="replay", via="cli", room=room, asked=asked), lines)


def run_room(settings: Settings, room: str, at: Moment, since: Moment) -> int:
    """`onrecord audit room`: JSON, of a moment or of what changed since another; 1 where there was no such room."""
    what, asked = (
        ("room", asked_for(at=at)) if since is None else ("changes", asked_for(**{"from": since, "to": at}))
    )

    async def document(database: Any, serializer: EventSerializer) -> AsyncIterator[bytes]:
        rooms = AsOf(AsOfReader(database, serializer, settings.database_timeout))
        return await (rooms.room(room, at) if since is None else rooms.changes(room, since, at))

    return _print(settings, AuditRead(what=what, via="cli", room=room, asked=asked), document)


def run_person(settings: Settings, person: str, room: str, at: Moment) -> int:
    """`onrecord audit person`: what somebody could see of a room, as JSON; 1 where there was no such room."""

    async def document(database: Any, serializer: EventSerializer) -> AsyncIterator[bytes]:
        past = AsOfReader(database, serializer, settings.database_timeout)
        return _whole(await PersonViews(past).view(person, room, at))

    reading = AuditRead(what="view", via="cli", room=room, person=person, asked=asked_for(at=at))
    return _print(settings, reading, document)


async def _whole(document: msgspec.Struct) -> AsyncIterator[bytes]:
    yield msgspec.json.encode(document) + b"\n"


def asked_for(**bounds: Moment | str) -> dict[str, str]:
    """Return what was asked for beside a room or a person, of what was given."""
    return {
        name: timestamp(value) if isinstance(value, datetime) else str(value)
        for name, value in bounds.items()
        if value is not None
    }


async def record(connection: "asyncpg.Connection[Any]", reading: AuditRead, settings: Settings) -> None:
    """Record what a command reads.

    Raises:
        NotRecorded, Unavailable: it could not be, so nothing may be read.
    """
    keys = KeyRing(settings.key_encryption_key)
    serializer = EventSerializer(keys)
    log = AccessLog(lambda entry: append_one(connection, entry, serializer), serializer, keys)
    try:
        await log.record(reading, operator(settings.operator))
    except asyncpg.InsufficientPrivilegeError as problem:
        raise NotRecorded(f"This reading cannot be recorded, so nothing is shown: {problem}.") from problem


def _print(
    settings: Settings,
    reading: AuditRead,
    read: Callable[[Any, EventSerializer], Awaitable[AsyncIterator[bytes]]],
) -> int:
    """Print what is read, piece by piece; 1 and a sentence where what it asks for is not there."""
    pin_mmap_threshold()

    async def run() -> None:
        serializer = EventSerializer(KeyRing(settings.key_encryption_key))
        async with open_pool(settings) as database:
            async with database.acquire() as connection:
                await record(connection, reading, settings)
                await serializer.keys.prove(connection)
            async for piece in await read(database, serializer):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    try:
        asyncio.run(run())
    except Refusal as problem:
        return say(problem)
    return 0
