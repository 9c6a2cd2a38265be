"""Retention: what is said in a room is made unreadable after so many days, on the record.

`keep_for` puts a room's rule on the record; from then on what is said there is sealed under a key for each person and
day (`service.domain.retention`). `expire` destroys the keys of days that are over, and records it: the database goes by
the room's rule on the record and its own clock, so it may be asked by anybody, at any time and twice.

The rule: what was said before a room had a rule is not under such keys, and stays.
"""

import logging
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from service.audit.known import require_room
from service.domain.events import ContentExpired, RoomRetentionChanged
from service.domain.retention import over_until
from service.domain.streams import RETENTION, SETTINGS, room_stream, stream_id
from service.errors import Overloaded
from service.log.append import Entry, append_one
from service.log.mapper import Mapper
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
    """Let a room keep what is said from now on for so many days, None for ever; return what the rule was before.

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
    rooms = [row["room"] for row in await patiently(lambda: database.fetch(_ROOMS), deadline)]
    streams = [stream_id(room_stream(room)) for room in rooms]
    rules = await patiently(
        lambda: database.fetch(_RULES, rooms, streams, RoomRetentionChanged.TOPIC), deadline
    )
    found = [await _expire(database, mapper, rule, by, deadline) for rule in rules]
    return [one for one in found if one is not None]


async def _expire(database: Any, mapper: Mapper, rule: Any, by: str, deadline: float) -> Expiry | None:
    room, days = rule["room"], rule["days"]
    event = ContentExpired(room=room, until=over_until(rule["now"], days), days=days)
    state = mapper.to_stored(event, RETENTION, None).state
    given = (room, rule["id"], event.until, stream_id(RETENTION), by, state)
    done = await patiently(lambda: database.fetchrow(_EXPIRE, *given), deadline)
    until = event.until.isoformat()
    if done["outcome"] == "held":
        log.warning("content_held", extra={"room": room, "until": until})
    if done["outcome"] != "expired":
        return None
    log.info("content_expired", extra={"room": room, "until": until, "keys": done["keys_gone"]})
    return Expiry(room, until, done["keys_gone"], done["position"], done["at"])


_ROOMS = "SELECT DISTINCT split_part(scope, '/', 1) AS room FROM person_keys WHERE scope <> '' AND wrapped IS NOT NULL"
_RULES = """
    SELECT known.room, known.id, rule.days, clock_timestamp() AS now
    FROM unnest($1::text[], $2::uuid[]) AS known (room, id)
    CROSS JOIN LATERAL (
        SELECT (convert_from(e.state, 'UTF8')::jsonb ->> 'days')::integer AS days FROM stored_events e
        WHERE e.originator_id = known.id AND e.subject = 'settings' AND e.topic = $3
        ORDER BY e.originator_version DESC LIMIT 1) rule
    WHERE rule.days IS NOT NULL
"""
_EXPIRE = "SELECT * FROM expire_content($1, $2, $3, $4, $5, $6)"
