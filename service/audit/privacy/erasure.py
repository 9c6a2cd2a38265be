"""Erases a person by destroying their keys, which makes their content unreadable.

Erasure is one database transaction (`erase_person`, migrations/sql/0020_privacy.sql): the keys are destroyed and
`PersonErased` is recorded, or neither. Caches follow from the record: nodes through their log tailer
(`service.gateway.notices.accounts`), read models through the projector (`Projection.forget`). So there is no state to
resume.

Invariant: no stored byte of the log changes.
"""

from datetime import datetime
from typing import Any

import msgspec

from service.audit.privacy.existence import require_person
from service.audit.privacy.legal_holds import describe
from service.domain.events import PersonErased, Recorded
from service.domain.streams import person_stream, stream_id
from service.errors import UnderLegalHold
from service.eventstore.serializer import ROWS, EventSerializer
from service.runtime.database_retry import retry_read


class Erasure(msgspec.Struct, frozen=True):
    """A person was erased at `at` (UTC) and `position`, on the recorded `ground`; `keys` were destroyed by this call.

    `already` says that an earlier call erased the person; this one changed nothing, and its own ground is not recorded.
    """

    person: str
    position: int
    at: datetime
    keys: int
    ground: str
    already: bool


async def erase(database: Any, person: str, *, ground: str, by: str, deadline: float) -> Erasure:
    """Erase a person permanently; idempotent. `database` is a pool or a connection.

    Raises:
        PersonUnknown: the id has no key and is not on the record.
        UnderLegalHold: a hold is on the person, or on a room that they were ever in.
        Unavailable: the database cannot be reached; the person may be erased, and a retry is safe.
    """
    await require_person(database, person, deadline)
    row = await retry_read(lambda: database.fetchrow(_ERASE, person, by, ground), deadline)
    if row["held"] is not None:
        raise UnderLegalHold(what=f"{person} cannot be erased", held=describe(row["held"]))
    already = row["outcome"] == "known"
    if already:
        ground = await retry_read(lambda: database.fetchval(_GROUND, row["position"]), deadline)
    return Erasure(person, row["position"], row["at"], row["keys_gone"], ground, already)


async def erasures(database: Any, serializer: EventSerializer, deadline: float) -> list[Recorded]:
    """Return every `PersonErased` on the record, by position.

    Raises:
        Unavailable: the database cannot be reached.
    """
    people = await retry_read(lambda: database.fetch(_PEOPLE), deadline)
    streams = [stream_id(person_stream(row["person"])) for row in people]
    rows = await retry_read(lambda: database.fetch(_ERASURES, streams, PersonErased.TOPIC), deadline)
    return [serializer.read(row) for row in rows]


_ERASE = "SELECT * FROM erase_person($1, $2, $3)"
_GROUND = (
    "SELECT convert_from(state, 'UTF8')::json ->> 'ground' FROM readable_events WHERE notification_id = $1"
)
_PEOPLE = "SELECT person FROM person_keys WHERE scope = '' AND wrapped IS NULL"
_ERASURES = f"{ROWS} WHERE e.originator_id = ANY ($1::uuid[]) AND e.topic = $2 ORDER BY e.notification_id"
