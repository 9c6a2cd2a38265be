"""The log in pieces small enough for a transaction: where the next one ends, and the events in it.

Invariant: nothing is passed over that a newer version may have written. A span ends before an event whose topic is not
in `EVENTS`, since that version may have meant it for any projection, and a table that lacked it would stay wrong after
the upgrade. Damage is passed over, since no version will read it: a topic of no form that a version gives, and one
whose bytes are not those that were sealed (docs/decisions/0023-unreadable-events.md).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from service.domain.events import EVENTS, Recorded
from service.eventstore.serializer import ROWS, EventSerializer, UnknownTopic

if TYPE_CHECKING:
    import asyncpg

MAX_EVENTS = 500
"""Events of the wanted topics in one span."""
MAX_POSITIONS = 2_000
"""Events of any topic in one span."""
ENDLESS = 2**63 - 1
FORM = r"^[a-z]+\.[A-Z][A-Za-z]*\.v[0-9]+$"
"""What every topic looks like, of this version and of any other (PostgreSQL)."""

Changed = Callable[["asyncpg.Connection[Any]", int], Awaitable[bool]]
"""Returns whether the event at a position is not the one that was sealed; false where it is not sealed."""


class LogWindow(msgspec.Struct, frozen=True):
    """The log after position `after`, up to and including `upto`; `head` is the log's last position at that time."""

    after: int
    upto: int
    head: int


async def next_window(
    connection: "asyncpg.Connection[Any]",
    topics: Sequence[str],
    after: int,
    until: int = ENDLESS,
    changed: Changed | None = None,
) -> LogWindow:
    """Return the next piece of the log, in which at most `MAX_EVENTS` are of `topics`; empty where there is no more.

    Raises:
        UnknownTopic: the event right after `after` is of a topic that this version does not know, and as far as
            `changed` can say it is as it was recorded.
    """
    given = (list(topics), list(EVENTS), MAX_POSITIONS, MAX_EVENTS, until, FORM)
    row = await connection.fetchrow(_SPAN, after, *given)
    assert row is not None  # noqa: S101 - aggregates have one row
    if row["upto"] is None and row["stranger"] is not None:
        if changed is None or not await changed(connection, row["at"]):
            raise UnknownTopic(row["stranger"])
        return LogWindow(after, row["at"], row["head"])
    return LogWindow(after, after if row["upto"] is None else row["upto"], row["head"])


async def events(
    connection: "asyncpg.Connection[Any]", serializer: EventSerializer, topics: Sequence[str], span: LogWindow
) -> list[Recorded]:
    """Return the events of `topics` in a span, by position, and those of a damaged topic.

    Raises:
        cryptography.exceptions.InvalidTag: no words can be opened, since the key encryption key is another one.
    """
    rows = await connection.fetch(_EVENTS, span.after, span.upto, list(topics), list(EVENTS))
    found = [serializer.read(row) for row in rows]
    if any(one.damage is not None and one.damage.part == "words" for one in found):
        await serializer.keys.prove(connection)
    return found


async def tracked(connection: "asyncpg.Connection[Any]", name: str) -> int:
    """Return the position of a projection.

    Raises:
        LookupError: it has none, so its table was never made.
    """
    position = await connection.fetchval(
        "SELECT notification_id FROM notification_tracking WHERE application_name = $1", name
    )
    if position is None:
        message = f"{name} has no row in notification_tracking: run `onrecord migrate`"
        raise LookupError(message)
    return int(position)


# As the log is append-only and positions rise in commit order, what a span holds is the same whenever it is read.
_SPAN = """
    SELECT max(position) FILTER (WHERE wanted <= $5 AND strangers = 0) AS upto,
        min(topic) FILTER (WHERE strange AND strangers = 1) AS stranger,
        min(position) FILTER (WHERE strange AND strangers = 1) AS at,
        (SELECT coalesce(max(notification_id), 0) FROM stored_events) AS head
    FROM (
        SELECT position, topic, strange, count(*) FILTER (WHERE topic = ANY ($2::text[])) OVER so_far AS wanted,
            count(*) FILTER (WHERE strange) OVER so_far AS strangers
        FROM (
            SELECT notification_id AS position, topic, topic <> ALL ($3::text[]) AND topic ~ $7 AS strange
            FROM stored_events
            WHERE notification_id > $1 AND notification_id <= $6
            ORDER BY notification_id LIMIT $4) following
        WINDOW so_far AS (ORDER BY position ROWS UNBOUNDED PRECEDING)) counted
"""
_EVENTS = f"""{ROWS}
    WHERE e.notification_id > $1 AND e.notification_id <= $2
        AND (e.topic = ANY ($3::text[]) OR e.topic <> ALL ($4::text[]))
    ORDER BY e.notification_id
"""
