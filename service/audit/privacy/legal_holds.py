"""Legal holds: while a room or a person is held, their content cannot be made unreadable.

A hold on a room protects the content of all people who were ever in it. A refused erasure names the hold.

Invariant: the stream `holds` is the record of the holds in force; the table `holds` is what database functions check
under lock. Both change in one transaction (`change_hold`, migrations/sql/0020_privacy.sql).
"""

from datetime import datetime
from typing import Any

import msgspec

from service.audit.privacy.existence import require_person, require_room
from service.domain.events import HoldPlaced, HoldReleased
from service.domain.streams import HOLDS, stream_id
from service.errors import HoldStands, NoHold
from service.eventstore.serializer import ROW, EventSerializer
from service.runtime.database_retry import retry_read


class Hold(msgspec.Struct, frozen=True):
    """A hold on the subject `held`, placed at `position` and `at` (UTC)."""

    held: str
    position: int
    at: datetime
    by: str
    ground: str


def describe(held: str) -> str:
    """Return a held subject, for display."""
    kind, _, name = held.partition(":")
    return f"the room {name}" if kind == "room" else f"the person {name}"


async def in_force(database: Any, serializer: EventSerializer, deadline: float) -> list[Hold]:
    """Return the holds in force, ordered by subject.

    Raises:
        Unavailable: the database cannot be reached.
    """
    rows = await retry_read(lambda: database.fetch(_LAST_OF_EACH, stream_id(HOLDS)), deadline)
    last = [serializer.read(row) for row in rows]
    return [
        Hold(recorded.event.held, recorded.position, recorded.at, recorded.by, recorded.event.ground)
        for recorded in last
        if isinstance(recorded.event, HoldPlaced)
    ]


async def place(database: Any, held: str, *, ground: str, by: str, deadline: float) -> Hold:
    """Place a hold on a room or a person.

    Raises:
        HoldStands: the subject is held already.
        RoomNotFound, PersonUnknown: the subject is not on the record.
        Unavailable: the database cannot be reached; the hold may be placed, see `in_force`.
    """
    kind, _, name = held.partition(":")
    await (require_room if kind == "room" else require_person)(database, name, deadline)
    changed = await _change(database, HoldPlaced(held=held, ground=ground), by, deadline)
    if changed is None:
        raise HoldStands(held=describe(held))
    return changed


async def release(database: Any, held: str, *, ground: str, by: str, deadline: float) -> Hold:
    """Release a hold; return the released hold with the position, time and ground of the release.

    Raises:
        NoHold: the subject is not held.
        Unavailable: the database cannot be reached; the hold may be released, see `in_force`.
    """
    changed = await _change(database, HoldReleased(held=held, ground=ground), by, deadline)
    if changed is None:
        raise NoHold(held=describe(held))
    return changed


async def _change(database: Any, event: HoldPlaced | HoldReleased, by: str, deadline: float) -> Hold | None:
    given = (event.held, by, isinstance(event, HoldPlaced), event.ground)
    # If the first reply was lost, the retry changes nothing and reports that, which is correct.
    row = await retry_read(lambda: database.fetchrow(_CHANGE, *given), deadline)
    if row["outcome"] == "nothing":
        return None
    return Hold(event.held, row["position"], row["at"], by, event.ground)


_CHANGE = "SELECT * FROM change_hold($1, $2, $3, $4)"
_LAST_OF_EACH = f"""
    SELECT {ROW} FROM (
        SELECT DISTINCT ON (subject) * FROM stored_events WHERE originator_id = $1
        ORDER BY subject, originator_version DESC) e
    LEFT JOIN open_keys k USING (key_id)
    ORDER BY e.subject
"""  # noqa: S608 - constants
