"""Reads the log in windows that fit a transaction.

Invariant: an event that a newer version may have written is never skipped. A window ends before an event whose topic
is not in `EVENTS`: a projection of the newer version may use it, and a table that skipped it would stay wrong after the
upgrade. A damaged event is skipped, since no version can read it. It has a topic that matches no version's form, or its
bytes differ from those that were sealed (docs/decisions/0023-unreadable-events.md).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from service.domain.events import EVENTS, Recorded
from service.eventstore.serializer import ROWS, EventSerializer, UnknownTopic

if TYPE_CHECKING:
    import asyncpg

MAX_EVENTS = 500
"""Events of the wanted topics in one window."""
MAX_POSITIONS = 2_000
"""Events of any topic in one window."""
ENDLESS = 2**63 - 1
TOPIC_PATTERN = r"\A[a-z]+\.[A-Z][A-Za-z]*\.v[0-9]+\Z"
"""The form of every topic, in this version and in any other (PostgreSQL)."""

DiffersFromSeal = Callable[["asyncpg.Connection[Any]", int], Awaitable[bool]]
"""Returns whether the event at a position is damaged: it differs from the one that was sealed there, if any."""


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
    differs: DiffersFromSeal | None = None,
) -> LogWindow:
    """Return the next window, with at most `MAX_EVENTS` of `topics`; empty at the end of the log.

    Raises:
        UnknownTopic: this version does not know the topic of the event right after `after`, and the event does not
            differ from the sealed one.
    """
    parameters = (list(topics), list(EVENTS), MAX_POSITIONS, MAX_EVENTS, until, TOPIC_PATTERN)
    row = await connection.fetchrow(_WINDOW, after, *parameters)
    assert row is not None  # noqa: S101 - aggregates have one row
    if row["upto"] is None and row["unknown"] is not None:
        if differs is None or not await differs(connection, row["at"]):
            raise UnknownTopic(row["unknown"])
        return LogWindow(after, row["at"], row["head"])
    return LogWindow(after, after if row["upto"] is None else row["upto"], row["head"])


async def events(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    topics: Sequence[str],
    window: LogWindow,
) -> list[Recorded]:
    """Return the events of `topics` in a window, by position, and those of a damaged topic.

    Raises:
        cryptography.exceptions.InvalidTag: the process lacks a key encryption key that is in use.
    """
    rows = await connection.fetch(_EVENTS, window.after, window.upto, list(topics), list(EVENTS))
    found = [serializer.read(row) for row in rows]
    unopened = {
        row["key_id"]: row["wrapped"]
        for row, event in zip(rows, found, strict=True)
        if event.damage is not None and event.damage.part == "words"
    }
    if unopened:
        await serializer.keys.prove(connection, unopened)
    return found


class NotTracked(LookupError):
    """The projection has no position."""


async def tracked(connection: "asyncpg.Connection[Any]", name: str) -> int:
    """Return the position of a projection.

    Raises:
        NotTracked: the projection has no position, since its table was never created or has replaced another.
    """
    position = await connection.fetchval(
        "SELECT notification_id FROM notification_tracking WHERE application_name = $1", name
    )
    if position is None:
        message = f"{name} has no row in notification_tracking: run `onrecord migrate`"
        raise NotTracked(message)
    return int(position)


# The log is append-only and positions rise in commit order, so a window has the same events whenever it is read.
_WINDOW = """
    SELECT max(position) FILTER (WHERE wanted <= $5 AND unknown_so_far = 0) AS upto,
        min(topic) FILTER (WHERE is_unknown AND unknown_so_far = 1) AS unknown,
        min(position) FILTER (WHERE is_unknown AND unknown_so_far = 1) AS at,
        (SELECT coalesce(max(notification_id), 0) FROM stored_events) AS head
    FROM (
        SELECT position, topic, is_unknown, count(*) FILTER (WHERE topic = ANY ($2::text[])) OVER so_far AS wanted,
            count(*) FILTER (WHERE is_unknown) OVER so_far AS unknown_so_far
        FROM (
            SELECT notification_id AS position, topic, topic <> ALL ($3::text[]) AND topic ~ $7 AS is_unknown
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
