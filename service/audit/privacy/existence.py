"""Rejects unknown rooms and people, so that a mistyped id records no action."""

from typing import Any

from service.domain.streams import person_stream, room_stream, session_stream, stream_id
from service.errors import PersonUnknown, RoomNotFound
from service.runtime.database_retry import retry_read


async def require_person(database: Any, person: str, deadline: float) -> None:
    """Check that a person has a key or is on the record.

    Raises:
        PersonUnknown: the id has no key and is not on the record.
        Unavailable: the database cannot be reached.
    """
    streams = [stream_id(person_stream(person)), stream_id(session_stream(person))]
    if not await retry_read(lambda: database.fetchval(_PERSON, person, streams), deadline):
        raise PersonUnknown(user=person)


async def require_room(database: Any, room: str, deadline: float) -> None:
    """Check that a room was ever opened.

    Raises:
        RoomNotFound: the room was never opened.
        Unavailable: the database cannot be reached.
    """
    stream = stream_id(room_stream(room))
    if not await retry_read(lambda: database.fetchval(_ROOM, stream), deadline):
        raise RoomNotFound(room=room)


_PERSON = """
    SELECT EXISTS (SELECT FROM person_keys WHERE person = $1)
        OR EXISTS (SELECT FROM stored_events WHERE originator_id = ANY ($2::uuid[]))
"""
_ROOM = "SELECT EXISTS (SELECT FROM stored_events WHERE originator_id = $1)"
