"""Rejects what is not on the record: a room, a person, a moment to come. A mistyped one is no empty finding."""

from datetime import datetime

from service.audit.history.format import when
from service.domain.streams import room_stream
from service.errors import EventMissing, PersonUnknown, RoomNotFound
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.events import timestamp
from service.protocol.room_as_of import Moment


async def require_complete(reader: AsOfReader, room: str, end: Moment = None, after: int = 0) -> None:
    """Check that no event of a room after a seq and up to a moment was removed from the log, except at its end.

    Raises:
        EventMissing: one was removed.
        Unavailable: the log cannot be read.
    """
    stream = room_stream(room)
    head = await reader.head(stream)
    if isinstance(end, datetime):
        head = await reader.seq_at(stream, await reader.position_at(end))
    elif end is not None:
        head = min(head, end)
    if (missing := await reader.first_missing(stream, after, head)) is not None:
        raise EventMissing(room=room, event=missing)


class WrongMoment(Exception):
    """A moment is later than now, or a range ends before it begins; the message is a sentence."""


async def require_reached(reader: AsOfReader, moment: Moment) -> None:
    """Check that a time is not later than now. A day is one up to its end, however early it is on that day.

    Raises:
        WrongMoment: it is later.
        Unavailable: the log cannot be read.
    """
    if isinstance(moment, datetime) and await reader.is_future(moment):
        raise WrongMoment(f"{when(timestamp(moment))} is in the future.")


async def require_event(reader: AsOfReader, room: str, moment: Moment) -> None:
    """Check that a moment is not a number after the last event of a room that exists.

    Raises:
        WrongMoment: it is.
        Unavailable: the log cannot be read.
    """
    if isinstance(moment, int) and 0 < (head := await reader.head(room_stream(room))) < moment:
        raise WrongMoment(f"There is no event {moment} in {room} yet: its last is {head}.")


async def require_known(reader: AsOfReader, *, room: str | None = None, person: str | None = None) -> None:
    """Check that a room was ever opened and that the record has something of a person.

    Raises:
        RoomNotFound, PersonUnknown: it is not on the record.
        Unavailable: the log cannot be read.
    """
    if room is not None and not await reader.head(room_stream(room)):
        raise RoomNotFound(room=room)
    if person is not None and not await reader.knows_person(person):
        raise PersonUnknown(user=person)
