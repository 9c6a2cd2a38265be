"""Retention: what is said in a room is made unreadable after so many days, on the record.

`keep_for` puts a room's rule on the record; from then on what is said there is sealed under a key for each person and
day (`service.domain.retention`), and what was said before is carried over to such keys once some of it is over
(`service.audit.privacy.retention_backfill`). `expire` destroys the keys of days that are over, and records it.

The rule: the database goes by the room's rule on the record and its own clock, so `expire` may be asked by anybody, at
any time and twice.
"""

import logging
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from service.audit.privacy.existence import require_room
from service.audit.privacy.retention_backfill import RetentionRule, backfill
from service.domain.events import RoomRetentionChanged
from service.domain.streams import SETTINGS, room_stream
from service.eventstore.append_loop import append_decided
from service.eventstore.entries import AppendRequest, append_one
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import retry_read

log = logging.getLogger("onrecord.retention")


class Expiry(msgspec.Struct, frozen=True):
    """What was made unreadable: in a room, up to and including a day; at `position` of the log."""

    room: str
    until: str
    keys: int
    position: int
    at: datetime


async def keep_for(
    connection: Any, serializer: EventSerializer, room: str, days: int | None, *, by: str, deadline: float
) -> int | None:
    """Let a room keep what is said for so many days, None for ever; return what the rule was before.

    Raises:
        RoomNotFound: there is no such room.
        Overloaded: it changes all the time.
        Unavailable: the database cannot be reached.
    """
    await require_room(connection, room, deadline)
    reader = LogReader(connection, serializer, deadline)
    before = days

    async def decide() -> AppendRequest | None:
        nonlocal before
        state = await reader.room(room)
        before = state.retention
        if before == days:
            return None
        return AppendRequest.of(
            serializer, room_stream(room), [RoomRetentionChanged(days=days)],
            user=by, ref=f"~retention:{uuid4()}", decided_on=state.head, guard=(SETTINGS,),
        )  # fmt: skip

    await append_decided(
        decide,
        lambda request: append_one(connection, request, serializer),
        lambda result: result.outcome != "appended",
    )
    return before


async def expire(database: Any, serializer: EventSerializer, *, by: str, deadline: float) -> list[Expiry]:
    """Make unreadable what is over in every room; return what was.

    Raises:
        Unavailable: the database cannot be reached.
    """
    rows = await retry_read(lambda: database.fetch(_RULES), deadline)
    rules = [RetentionRule(row["room"], row["days"], row["now"]) for row in rows]
    await backfill(database, serializer, rules, by=by, deadline=deadline)
    found = [await _expire(database, rule, by, deadline) for rule in rules]
    return [one for one in found if one is not None]


async def _expire(database: Any, rule: RetentionRule, by: str, deadline: float) -> Expiry | None:
    room = rule.room
    done = await retry_read(lambda: database.fetchrow(_EXPIRE, room, rule.until, by), deadline)
    until = rule.until.isoformat()
    if done["outcome"] == "held":
        log.warning("content_held", extra={"room": room, "until": until})
    if done["outcome"] != "expired":
        return None
    log.info("content_expired", extra={"room": room, "until": until, "keys": done["keys_gone"]})
    return Expiry(room, until, done["keys_gone"], done["position"], done["at"])


_RULES = "SELECT room, days, clock_timestamp() AS now FROM room_rules ORDER BY room_id"
_EXPIRE = "SELECT * FROM expire_content($1, $2, $3)"
