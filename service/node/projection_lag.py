"""Measures on each node how far the read models are behind the log, so the lag shows even if no projector runs."""

import asyncio
from typing import TYPE_CHECKING, Any

from projections import PROJECTIONS
from service.observability.exposition import Sheet
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

EVERY = 2.0
"""Seconds between two measurements."""

FORGET_AFTER = 10.0
"""Seconds for which a measurement is reported: a missing number is better than an outdated one."""


class Lag:
    """Measures the lag of each read model; a query may take `deadline` seconds."""

    def __init__(self, database: "asyncpg.Pool[Any]", deadline: float) -> None:
        self._database = database
        self._deadline = deadline
        self._rows: list[Any] = []
        self._measured_at = float("-inf")

    async def measure(self) -> None:
        """Measure once.

        Raises:
            Unavailable: the log cannot be read.
        """
        tables = [projection.table for projection in PROJECTIONS]
        self._rows = await retry_read(lambda: self._database.fetch(AGES, tables), self._deadline)
        self._measured_at = asyncio.get_running_loop().time()

    @property
    def fresh(self) -> bool:
        """Whether the last measurement is recent."""
        return asyncio.get_running_loop().time() - self._measured_at < FORGET_AFTER

    def write(self, sheet: Sheet) -> None:
        """Write the metrics; see `Source`. A read model that was never built is behind by the whole log."""
        if not self.fresh:
            return
        for projection, row in zip(PROJECTIONS, self._rows, strict=True):
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
