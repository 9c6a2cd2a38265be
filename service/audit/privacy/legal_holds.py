"""Legal holds: while one is on a room or a person, nothing of theirs is made unreadable.

A hold on a room protects the words of everybody who was ever in it. Whoever erases is told what is in the way.

The rule: the record says which holds are in force, in the stream `holds`; the table of that name is what the database
looks at under its lock, and both change in one transaction (`change_hold`, migrations/sql/0020_privacy.sql).
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
    """A hold in force: on the subject `held`, at `position` of the log since `at` (UTC)."""

    held: str
    position: int
    at: datetime
    by: str
    ground: str


def in_words(held: str) -> str:
    """Return what is held, for people."""
    kind, _, name = held.partition(":")
    return f"the room {name}" if kind == "room" else f"the person {name}"


async def in_force(database: Any, serializer: EventSerializer, deadline: float) -> list[Hold]:
    """Return the holds in force, by what is held.

    Raises:
        Unavailable: the database cannot be reached.
    """
    rows = await retry_read(lambda: database.fetch(_LAST_OF_EACH, stream_id(HOLDS)), deadline)
    last = [serializer.read(row) for row in rows]
    return [
        Hold(one.event.held, one.position, one.at, one.by, one.event.ground)
        for one in last
        if isinstance(one.event, HoldPlaced)
    ]


async def place(database: Any, held: str, *, ground: str, by: str, deadline: float) -> Hold:
    """Hold a room or a person.

    Raises:
        HoldStands, RoomNotFound, PersonUnknown: it is held already, or was never here.
        Unavailable: the database cannot be reached; look at the holds.
    """
    kind, _, name = held.partition(":")
    await (require_room if kind == "room" else require_person)(database, name, deadline)
    changed = await _change(database, HoldPlaced(held=held, ground=ground), by, deadline)
    if changed is None:
        raise HoldStands(held=in_words(held))
    return changed


async def release(database: Any, held: str, *, ground: str, by: str, deadline: float) -> Hold:
    """Release what is held; return the event of that, as a hold that is over.

    Raises:
        NoHold: it is not held.
        Unavailable: the database cannot be reached; look at the holds.
    """
    changed = await _change(database, HoldReleased(held=held, ground=ground), by, deadline)
    if changed is None:
        raise NoHold(held=in_words(held))
    return changed


async def _change(database: Any, event: HoldPlaced | HoldReleased, by: str, deadline: float) -> Hold | None:
    given = (event.held, by, isinstance(event, HoldPlaced), event.ground)
    # Done twice, since a reply was lost, it says that it was so already: that is true.
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
