"""Erasing a person: their keys are destroyed, and nobody reads a word of theirs again.

All of it is one transaction of the database (`erase_person`, migrations/sql/0008_erasure.sql): the keys go and
`PersonErased` is on the record, or neither. Whatever else has to forget follows from the record: nodes by their tail
reader (`service.wire.standing`), read models by the projector (`Projection.forget`). So there is nothing to resume.

The rule: no stored byte of the log changes.
"""

from datetime import datetime
from typing import Any

import msgspec

from service.domain.events import PersonErased
from service.domain.streams import person_stream, session_stream, stream_id
from service.errors import PersonUnknown
from service.log.mapper import Mapper
from service.log.trouble import patiently


class Erasure(msgspec.Struct, frozen=True):
    """A person is erased since `at` (UTC), at `position` of the log; `keys` of theirs were destroyed just now."""

    person: str
    position: int
    at: datetime
    keys: int


async def erase(
    database: Any, mapper: Mapper, person: str, *, ground: str, by: str, deadline: float
) -> Erasure:
    """Erase a person for good, or find that they are; `database` is a pool or a connection.

    Raises:
        PersonUnknown: nobody of that id was ever here.
        Unavailable: the database cannot be reached; they may be erased, and asking again is safe.
    """
    streams = [stream_id(person_stream(person)), stream_id(session_stream(person))]
    if not await patiently(lambda: database.fetchval(_KNOWN, person, streams), deadline):
        raise PersonUnknown(user=person)
    stream = person_stream(person)
    event = mapper.to_stored(PersonErased(user=person, ground=ground), stream, None)
    row = await patiently(
        lambda: database.fetchrow(_ERASE, person, stream_id(stream), by, event.state), deadline
    )
    return Erasure(person, row["position"], row["at"], row["keys_gone"])


_KNOWN = """
    SELECT EXISTS (SELECT FROM person_keys WHERE person = $1)
        OR EXISTS (SELECT FROM stored_events WHERE originator_id = ANY ($2::uuid[]))
"""
_ERASE = "SELECT * FROM erase_person($1, $2, $3, $4)"
