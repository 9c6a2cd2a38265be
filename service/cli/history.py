"""The commands that read the record: replay, a room as of a moment, one user's view.

Each read is recorded first, with the operator who runs the command.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from service.audit.access_log import AccessLog, NotRecorded
from service.audit.history.as_of import AsOf, Writer, json_pieces
from service.audit.history.existence import WrongMoment, require_complete, require_event, require_reached
from service.audit.history.person_view import PersonViews
from service.audit.history.replay import replay
from service.audit.history.text import text_pieces, view_text
from service.cli.connection import operator, serializer_of
from service.cli.output import complain, form_of
from service.cli.preconditions import WrongUsage
from service.config.settings import Settings
from service.domain.events import AuditRead
from service.errors import Refusal
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.connections import connector
from service.eventstore.entries import append_one
from service.eventstore.reader import LogReader
from service.eventstore.readiness import check_schema
from service.eventstore.serializer import EventSerializer
from service.node.storage import open_pool
from service.protocol.events import timestamp
from service.protocol.room_as_of import Moment
from service.runtime.malloc import pin_mmap_threshold

if TYPE_CHECKING:
    from service.cli.connection import Connection


def run_replay(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit replay`: a line per event; 1: the room does not exist; 2: the range ends before it begins."""
    if _is_reversed(args.from_seq, args.to_seq) or _is_reversed(args.from_time, args.to_time):
        raise WrongUsage("This range ends before it begins.")
    bounds = {"from_seq": args.from_seq, "to_seq": args.to_seq}
    asked = bounds_asked(**bounds, **{"from": args.from_time, "to": args.to_time})

    async def read(database: Any, serializer: EventSerializer) -> AsyncIterator[bytes]:
        log, reader = LogReader(database, serializer), _reader(database, serializer, settings)
        times = {"from_time": args.from_time, "to_time": args.to_time}
        if form_of(args) == "json":
            lines = replay(log, args.room, **bounds, **times)
        else:
            lines = replay(log, args.room, **bounds, **times, form="text", people=reader)
        end = args.to_seq if args.to_time is None else args.to_time
        return _checked(_reported(lines, args.room), reader, args.room, end, (args.from_seq or 1) - 1)

    return _print(settings, AuditRead(what="replay", via="cli", room=args.room, asked=asked), read)


def run_room(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit room`: a room as of a moment or of the changes since another; 1: the room did not exist."""
    room, at, since = args.room, args.at, args.diff
    asked = bounds_asked(at=at) if since is None else bounds_asked(**{"from": since, "to": at})

    async def read(database: Any, serializer: EventSerializer) -> AsyncIterator[bytes]:
        reader = _reader(database, serializer, settings)
        rooms = AsOf(reader, _writer(args))
        for moment in (at, since):
            await require_reached(reader, moment)
            try:
                await require_event(reader, room, moment)
            except WrongMoment as problem:
                complain(problem)
        pieces = await (rooms.room(room, at) if since is None else rooms.changes(room, since, at))
        return _checked(pieces, reader, room, at)

    what = "room" if since is None else "changes"
    return _print(settings, AuditRead(what=what, via="cli", room=room, asked=asked), read)


def run_person(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit person`: what a user could see of one room or of all; 1: the room or the user is unknown."""
    moment, since = args.at

    async def read(database: Any, serializer: EventSerializer) -> AsyncIterator[bytes]:
        reader = _reader(database, serializer, settings)
        views = PersonViews(reader, _writer(args))
        await require_reached(reader, moment)
        if args.room is None:
            return await views.rooms(args.person, moment, since)
        view, names = await views.named_view(args.person, args.room, moment, since)
        return _one(msgspec.json.encode(view) + b"\n" if form_of(args) == "json" else view_text(view, names))

    asked = bounds_asked(at=moment, since=since)
    reading = AuditRead(what="view", via="cli", room=args.room, person=args.person, asked=asked)
    return _print(settings, reading, read)


def _is_reversed(begin: Any, end: Any) -> bool:
    return begin is not None and end is not None and begin > end


async def _reported(lines: AsyncIterator[bytes], room: str) -> AsyncIterator[bytes]:
    """Yield lines; report that there were none, which would look like a failure."""
    empty = True
    async for line in lines:
        empty = False
        yield line
    if empty:
        complain(f"No event of {room} is in this range.")


async def _checked(
    pieces: AsyncIterator[bytes], reader: AsOfReader, room: str, end: Moment, after: int = 0
) -> AsyncIterator[bytes]:
    """Yield the pieces of an answer about a room; then check that no event was removed that it should rest on.

    Raises:
        EventMissing: one was removed.
    """
    async for piece in pieces:
        yield piece
    await require_complete(reader, room, end, after)


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


def _reader(database: Any, serializer: EventSerializer, settings: Settings) -> AsOfReader:
    return AsOfReader(database, serializer, settings.database_timeout)


def _writer(args: argparse.Namespace) -> Writer:
    return json_pieces if form_of(args) == "json" else text_pieces


def bounds_asked(**bounds: Moment | str) -> dict[str, str]:
    """Return the bounds that were given, as the record of a read has them."""
    return {
        name: timestamp(value) if isinstance(value, datetime) else str(value)
        for name, value in bounds.items()
        if value is not None
    }


async def record(connection: "Connection", reading: AuditRead, settings: Settings) -> None:
    """Record what a command reads.

    Raises:
        NotRecorded, Unavailable: it was not recorded, so nothing may be read.
    """
    serializer = serializer_of(settings)
    log = AccessLog(lambda entry: append_one(connection, entry, serializer), serializer)
    try:
        await log.record(reading, operator(settings))
    except asyncpg.InsufficientPrivilegeError as problem:
        raise NotRecorded(f"This read cannot be recorded, so nothing is shown: {problem}.") from problem


def _print(
    settings: Settings,
    reading: AuditRead,
    read: Callable[[Any, EventSerializer], Awaitable[AsyncIterator[bytes]]],
) -> int:
    """Print what `read` yields, piece by piece; print a refusal and return 1.

    Raises:
        WrongUsage: a moment is in the future, or a range ends before it begins.
    """
    pin_mmap_threshold()

    async def run() -> None:
        serializer = serializer_of(settings)
        async with open_pool(settings, connector(settings, settings.session_url)) as database:
            async with database.acquire() as connection:
                await check_schema(connection)
                await record(connection, reading, settings)
                await serializer.keys.prove(connection)
            async for piece in await read(database, serializer):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            await serializer.keys.prove(database)  # a rotation may have begun since

    try:
        asyncio.run(run())
    except Refusal as problem:
        return complain(problem)
    except WrongMoment as problem:
        raise WrongUsage(str(problem)) from problem
    return 0
