"""Runs queries on the log and decodes their rows.

Every read goes to the primary and has a deadline.
"""

from typing import TYPE_CHECKING, Any

from service.domain.events import Recorded
from service.domain.streams import stream_id
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg

DEADLINE = 5.0
"""The default limit of a read in seconds."""


class EventQueries:
    """Runs queries on the log through a pool of connections and decodes their rows.

    Every method raises `Unavailable` if there is no answer within `deadline` seconds.
    """

    def __init__(
        self,
        database: "asyncpg.Pool[Any] | asyncpg.Connection[Any]",
        serializer: EventSerializer,
        deadline: float = DEADLINE,
    ) -> None:
        self._database = database
        self._serializer = serializer
        self._deadline = deadline

    async def position(self) -> int:
        """Return the position of the log's last event, 0 if the log is empty."""
        return int(await self._value("SELECT coalesce(max(notification_id), 0) FROM stored_events"))

    async def head(self, stream: str) -> int:
        """Return the seq of a stream's last event, 0 if there is none."""
        return int(await self._value(_HEAD, stream_id(stream)))

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        return await retry_read(lambda: self._database.fetch(query, *arguments), self._deadline)

    async def _read(self, query: str, *arguments: object) -> list[Recorded]:
        return [self._serializer.read(row) for row in await self._fetch(query, *arguments)]

    async def _value(self, query: str, *arguments: object) -> Any:
        return (await self._fetch(query, *arguments))[0][0]


_HEAD = "SELECT coalesce(max(originator_version), 0) FROM stored_events WHERE originator_id = $1"
