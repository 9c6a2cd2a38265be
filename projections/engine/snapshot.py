"""Queries the read models as of the log's head: their rows, with the log's tail applied.

A projection lags behind the log by a few milliseconds, or by minutes after a restart; the answers of queries do not. A
query runs in one repeatable-read snapshot, in which positions, rows and log are consistent. Positions rise in commit
order, so the rows lack exactly the events after their position.

Invariant: a query reads each table together with that table's own position.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from databases import Database

from projections.engine.projection import Projection
from service.domain.events import EVENTS, Recorded
from service.domain.streams import stream_id
from service.errors import ProjectionBehind
from service.eventstore.event_queries import events_query, reactions_query
from service.eventstore.read_database import Fetch, read_snapshot
from service.eventstore.serializer import ROW, EventSerializer

MAX_BEHIND = 2_000
"""Positions that a table may be behind the log; beyond that a query is refused, since it would be slow."""

Row = Mapping[str, Any]


class Snapshot:
    """One moment: `head` is the log's last position, `positions` those of the tables; `fetch` runs a query in it."""

    def __init__(
        self, fetch: Fetch, serializer: EventSerializer, head: int, positions: dict[str, int]
    ) -> None:
        self.head = head
        self.positions = positions
        self.fetch = fetch
        self._serializer = serializer

    async def tail(self, where: str, *, until: int | None = None, **values: object) -> list[Row]:
        """Return the stored events that some table lacks and that match `where`, by position.

        In `where`, a constant, `e` is the event and `tail` has all events that some table lacks. Edits are left out
        that a later one replaces; an edit after the seq `until` replaces none before it.
        """
        after = min(self.positions.values())
        if after >= self.head:
            return []
        query = _TAIL + f"WHERE ({where}) AND NOT e.replaced ORDER BY e.notification_id"
        return await self.fetch(query, after=after, most=MAX_BEHIND, until=until, **values)

    async def facts(
        self, projection: Projection, stream: str, messages: list[int], until: int
    ) -> list[Recorded]:
        """Return a projection's events about some messages up to the seq `until`, by seq, without replaced edits."""
        if not messages:
            return []
        rows = await self.fetch(_FACTS, stream=stream_id(stream), messages=messages, until=until)
        return [event for event in map(self._serializer.read, rows) if projection.applies(event)]

    async def reactions(self, stream: str, messages: list[int]) -> dict[int, int]:
        """Return how many events of reactions those of `messages` have that have any."""
        rows = await self.fetch(_REACTIONS, stream=stream_id(stream), messages=messages) if messages else []
        return {row["message"]: row["reactions"] for row in rows}

    def lacking(
        self, tail: list[Row], projection: Projection, *, sealed: Collection[str] = ()
    ) -> list[Recorded]:
        """Return the events in `tail` that a projection uses and has not applied.

        The content of events of the topics `sealed` is not decrypted and reads as None, which is much cheaper.
        """
        position = self.positions[projection.table]
        read = (
            self._serializer.read({**row, "wrapped": None} if row["topic"] in sealed else row)
            for row in tail
            if row["notification_id"] > position
            and (row["topic"] in projection.topics or row["topic"] not in EVENTS)
        )
        return [recorded for recorded in read if projection.applies(recorded)]


@asynccontextmanager
async def snapshot(
    database: Database, serializer: EventSerializer, *projections: Projection
) -> AsyncIterator[Snapshot]:
    """Yield a snapshot of the tables of `projections`.

    Raises:
        ProjectionBehind: a table is more than `MAX_BEHIND` positions behind the log.
    """
    async with read_snapshot(database) as fetch:
        rows = await fetch(_POSITIONS, tables=[projection.table for projection in projections])
        if any(row["position"] is None for row in rows):
            raise ProjectionBehind(behind=rows[0]["head"])  # the projector has not begun this version yet
        now = Snapshot(fetch, serializer, rows[0]["head"], {row["name"]: row["position"] for row in rows})
        behind = now.head - min(now.positions.values())
        if behind > MAX_BEHIND:
            raise ProjectionBehind(behind=behind)
        yield now


_POSITIONS = """
    SELECT wanted.name, t.notification_id AS position,
        (SELECT coalesce(max(notification_id), 0) FROM stored_events) AS head
    FROM unnest(CAST(:tables AS text[])) AS wanted (name)
        LEFT JOIN notification_tracking t ON t.application_name = wanted.name
"""
_FACTS = events_query(":stream", ":messages", ":until")
_REACTIONS = reactions_query(":stream", ":messages")
# The limit makes the planner use the index on the position.
_TAIL = f"""
    WITH tail AS MATERIALIZED (
        SELECT * FROM readable_events WHERE notification_id > :after ORDER BY notification_id LIMIT :most)
    SELECT {ROW}
    FROM (
        SELECT *, topic = 'room.MessageEdited.v1' AND lead(true) OVER (
            PARTITION BY originator_id, subject, topic, originator_version <= CAST(:until AS bigint)
            ORDER BY notification_id) IS NOT NULL AS replaced
        FROM tail) e
    LEFT JOIN open_keys k USING (key_id)
"""  # noqa: S608 - constants
