"""Retention: makes the messages of a room unreadable after a number of days, on the record.

`keep_for` records a room's rule. From then on its messages are encrypted with a key per person and day
(`service.domain.retention`), and earlier messages are re-encrypted with such keys once the first of them expire
(`service.audit.privacy.retention_backfill`). `expire` destroys the keys of expired days, and records that.

Invariant: the database decides by the recorded rule and its own clock, so any caller may run `expire` at any time and
repeatedly.
"""

import logging
from datetime import date, datetime
from typing import Any
from uuid import uuid4

import msgspec

from service.audit.privacy.existence import require_room
from service.audit.privacy.retention_backfill import RetentionRule, backfill
from service.domain.events import RoomRetentionChanged
from service.domain.streams import SETTINGS, room_stream
from service.eventstore.entries import AppendRequest, append_decided, append_one
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import retry_read

FIRST_DAY = date(2000, 1, 1)
"""The first day that `expire_content` accepts; no log has messages of earlier days."""

log = logging.getLogger("onrecord.retention")


class Expiry(msgspec.Struct, frozen=True):
    """The messages of a room up to and including a day were made unreadable, at `position` of the log."""

    room: str
    until: str
    keys: int
    position: int
    at: datetime


async def keep_for(
    connection: Any, serializer: EventSerializer, room: str, days: int | None, *, by: str, deadline: float
) -> int | None:
    """Set the number of days for which a room keeps messages, None for ever; return the previous number.

    Raises:
        RoomNotFound: the room does not exist.
        Overloaded: the room kept changing.
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
    """Expire the messages of every room with a rule; return the expiries.

    Raises:
        Unavailable: the database cannot be reached.
    """
    rows = await retry_read(lambda: database.fetch(_RULES), deadline)
    rules = [RetentionRule(row["room"], row["days"], row["now"]) for row in rows]
    rules = [rule for rule in rules if rule.until >= FIRST_DAY]
    await backfill(database, serializer, rules, by=by, deadline=deadline)
    expiries = [await _expire(database, rule, by, deadline) for rule in rules]
    return [expiry for expiry in expiries if expiry is not None]


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
