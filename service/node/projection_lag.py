"""How far the read models are behind the log, as a node sees it: so it shows when no projector runs at all."""

import asyncio
from typing import TYPE_CHECKING, Any

from projections import PROJECTIONS
from service.observability.exposition import Sheet
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

EVERY = 2.0
"""Seconds between two looks."""

FORGET_AFTER = 10.0
"""Seconds after which what was seen is said no more: no number is better than an old one."""


class Lag:
    """Looks at the read models' positions; a query may take `deadline` seconds."""

    def __init__(self, database: "asyncpg.Pool[Any]", deadline: float) -> None:
        self._database = database
        self._deadline = deadline
        self._seen: list[Any] = []
        self._seen_at = float("-inf")

    async def look(self) -> None:
        """Look once.

        Raises:
            Unavailable: the log cannot be read.
        """
        tables = [projection.table for projection in PROJECTIONS]
        self._seen = await retry_read(lambda: self._database.fetch(AGES, tables), self._deadline)
        self._seen_at = asyncio.get_running_loop().time()

    @property
    def fresh(self) -> bool:
        """Whether the log was read not long ago."""
        return asyncio.get_running_loop().time() - self._seen_at < FORGET_AFTER

    def write(self, sheet: Sheet) -> None:
        """Be a `Source`; a read model that was never made lacks everything."""
        if not self.fresh:
            return
        for projection, row in zip(PROJECTIONS, self._seen, strict=True):
            sheet.put("onrecord_projection_lag_events", row["behind"], projection.name)
            sheet.put("onrecord_projection_lag_seconds", row["seconds"], projection.name)


AGES = """
    SELECT log.head - coalesce(t.notification_id, 0) AS behind, coalesce((
        SELECT greatest(0, extract(epoch FROM clock_timestamp() - e.recorded_at))::float8
        FROM stored_events e WHERE e.notification_id > coalesce(t.notification_id, 0)
        ORDER BY e.notification_id LIMIT 1), 0) AS seconds
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, number)
        LEFT JOIN notification_tracking t ON t.application_name = wanted.name
        CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS head FROM stored_events) log
    ORDER BY wanted.number
"""
