"""Whether a room or a person was ever here, so that a slip of the pen is told and nothing is done about nobody."""

from typing import Any

from service.domain.streams import person_stream, room_stream, session_stream, stream_id
from service.errors import PersonUnknown, RoomNotFound
from service.runtime.database_retry import retry_read


async def require_person(database: Any, person: str, deadline: float) -> None:
    """Do nothing where somebody is on the record, or has a key.

    Raises:
        PersonUnknown: nobody of that id was ever here.
        Unavailable: the database cannot be reached.
    """
    streams = [stream_id(person_stream(person)), stream_id(session_stream(person))]
    if not await retry_read(lambda: database.fetchval(_PERSON, person, streams), deadline):
        raise PersonUnknown(user=person)


async def require_room(database: Any, room: str, deadline: float) -> None:
    """Do nothing where a room was ever opened.

    Raises:
        RoomNotFound: it was not.
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
