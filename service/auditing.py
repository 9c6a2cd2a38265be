"""What the commands that read the record run, put together from the parts; beside `service.app`, by the same rule.

Each reading is recorded first, in the name of the operating system's user.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from service.audit import register
from service.audit.as_of import AsOf
from service.audit.line import Form
from service.audit.person_view import PersonViews
from service.audit.register import NotRecorded
from service.audit.replay import replay
from service.console import say
from service.domain.events import AuditRead
from service.errors import Refusal
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.log.past import PastReader
from service.log.read import LogReader
from service.operator import operator
from service.parts import pool
from service.protocol.events import timestamp
from service.protocol.past import Moment
from service.settings import Settings
from service.steady import keep_memory_steady


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

    async def lines(database: Any, mapper: Mapper) -> AsyncIterator[bytes]:
        bounds: dict[str, Any] = {"from_seq": from_seq, "to_seq": to_seq, "from_time": from_time}
        return replay(LogReader(database, mapper), room, **bounds, to_time=to_time, form=form)

    return _print(settings, AuditRead(what="replay", via="cli", room=room, asked=asked), lines)


def run_room(settings: Settings, room: str, at: Moment, since: Moment) -> int:
    """`onrecord audit room`: JSON, of a moment or of what changed since another; 1 where there was no such room."""
    what, asked = (
        ("room", asked_for(at=at)) if since is None else ("changes", asked_for(**{"from": since, "to": at}))
    )

    async def document(database: Any, mapper: Mapper) -> AsyncIterator[bytes]:
        rooms = AsOf(PastReader(database, mapper, settings.database_timeout))
        return await (rooms.room(room, at) if since is None else rooms.changes(room, since, at))

    return _print(settings, AuditRead(what=what, via="cli", room=room, asked=asked), document)


def run_person(settings: Settings, person: str, room: str, at: Moment) -> int:
    """`onrecord audit person`: what somebody could see of a room, as JSON; 1 where there was no such room."""

    async def document(database: Any, mapper: Mapper) -> AsyncIterator[bytes]:
        past = PastReader(database, mapper, settings.database_timeout)
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
    try:
        await register.of_command(connection, Mapper(keys), keys).note(reading, operator(settings.operator))
    except asyncpg.InsufficientPrivilegeError as problem:
        raise NotRecorded(f"This reading cannot be recorded, so nothing is shown: {problem}.") from problem


def _print(
    settings: Settings, reading: AuditRead, read: Callable[[Any, Mapper], Awaitable[AsyncIterator[bytes]]]
) -> int:
    """Print what is read, piece by piece; 1 and a sentence where what it asks for is not there."""
    keep_memory_steady()

    async def run() -> None:
        mapper = Mapper(KeyRing(settings.key_encryption_key))
        async with pool(settings) as database:
            async with database.acquire() as connection:
                await record(connection, reading, settings)
                await mapper.keys.prove(connection)
            async for piece in await read(database, mapper):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    try:
        asyncio.run(run())
    except Refusal as problem:
        return say(problem)
    return 0
