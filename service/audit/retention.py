"""Retention: what is said in a room is made unreadable after so many days, on the record.

`keep_for` puts a room's rule on the record; from then on what is said there is sealed under a key for each person and
day (`service.domain.retention`), and what was said before is carried over to such keys once some of it is over
(`service.audit.reach`). `expire` destroys the keys of days that are over, and records it.

The rule: the database goes by the room's rule on the record and its own clock, so `expire` may be asked by anybody, at
any time and twice.
"""

import logging
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from service.audit.known import require_room
from service.audit.reach import Rule, reach_back
from service.domain.events import ContentExpired, RoomRetentionChanged
from service.domain.streams import RETENTION, SETTINGS, room_of, room_stream, stream_id
from service.errors import Overloaded
from service.log.batch import Entry, append_one
from service.log.mapper import ROW, Mapper
from service.log.read import LogReader
from service.log.trouble import patiently

TRIES = 8
"""How often a rule is put down again where the room changed meanwhile."""

log = logging.getLogger("onrecord.retention")


class Expiry(msgspec.Struct, frozen=True):
    """What was made unreadable: in a room, up to and including a day; at `position` of the log."""

    room: str
    until: str
    keys: int
    position: int
    at: datetime


async def keep_for(
    connection: Any, mapper: Mapper, room: str, days: int | None, *, by: str, deadline: float
) -> int | None:
    """Let a room keep what is said for so many days, None for ever; return what the rule was before.

    Raises:
        RoomNotFound: there is no such room.
        Overloaded: it changes all the time.
        Unavailable: the database cannot be reached.
    """
    await require_room(connection, room, deadline)
    reader = LogReader(connection, mapper, deadline)
    for _ in range(TRIES):
        state = await reader.room(room)
        if state.retention == days:
            return days
        event = RoomRetentionChanged(days=days)
        stored = mapper.to_stored(event, room_stream(room), None)
        entry = Entry(
            stream=room_stream(room), user=by, ref=f"~retention:{uuid4()}", fingerprint=b"", decided_on=state.head,
            guard=(SETTINGS,), events=(event,), stored=(stored,),
        )  # fmt: skip
        if (await append_one(connection, entry, mapper)).outcome == "appended":
            return state.retention
    raise Overloaded


async def expire(database: Any, mapper: Mapper, *, by: str, deadline: float) -> list[Expiry]:
    """Make unreadable what is over in every room; return what was.

    Raises:
        Unavailable: the database cannot be reached.
    """
    rows = await patiently(lambda: database.fetch(_RULES), deadline)
    rules = [rule for row in rows if (rule := _rule(mapper, row)) is not None]
    await reach_back(database, mapper, rules, by=by, deadline=deadline)
    found = [await _expire(database, mapper, rule, by, deadline) for rule in rules]
    return [one for one in found if one is not None]


def _rule(mapper: Mapper, row: Any) -> Rule | None:
    """Return a room's rule; None where it has none, or where it cannot be read: nothing is destroyed on a guess."""
    recorded = mapper.read(row)
    event = recorded.event
    if not isinstance(event, RoomRetentionChanged) or event.days is None:
        return None
    return Rule(room_of(recorded.stream), event.days, row["now"])


async def _expire(database: Any, mapper: Mapper, rule: Rule, by: str, deadline: float) -> Expiry | None:
    room = rule.room
    event = ContentExpired(room=room, until=rule.until, days=rule.days)
    state = mapper.to_stored(event, RETENTION, None).state
    given = (room, rule.id, event.until, stream_id(RETENTION), by, state)
    done = await patiently(lambda: database.fetchrow(_EXPIRE, *given), deadline)
    until = event.until.isoformat()
    if done["outcome"] == "held":
        log.warning("content_held", extra={"room": room, "until": until})
    if done["outcome"] != "expired":
        return None
    log.info("content_expired", extra={"room": room, "until": until, "keys": done["keys_gone"]})
    return Expiry(room, until, done["keys_gone"], done["position"], done["at"])


_RULES = f"""
    SELECT {ROW}, clock_timestamp() AS now
    FROM (
        SELECT DISTINCT ON (originator_id) * FROM stored_events WHERE topic = '{RoomRetentionChanged.TOPIC}'
        ORDER BY originator_id, originator_version DESC) e
    LEFT JOIN person_keys k USING (key_id)
"""  # noqa: S608 - constants
_EXPIRE = "SELECT * FROM expire_content($1, $2, $3, $4, $5, $6)"
