"""Rejects a room or a person that is not on the record, so that a mistyped id is no empty finding."""

from service.domain.streams import room_stream
from service.errors import PersonUnknown, RoomNotFound
from service.eventstore.as_of_reader import AsOfReader


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
