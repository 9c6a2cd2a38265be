"""The contract of a read model: the events that it uses, and how a batch of them becomes rows.

Invariant: `apply` is a fold. Rows depend on the events and their order alone, never on the boundaries of batches, the
clock or other tables, so that a followed and a rebuilt table are equal.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from service.domain.events import ContentExpired, PersonErased, Recorded, Unreadable
from service.domain.streams import room_stream

if TYPE_CHECKING:
    import asyncpg

SCHEMA = "read_models"
"""The schema of every table and view of a read model, in which `onrecord_projector` creates."""

Apply = Callable[["asyncpg.Connection[Any]", str, Sequence[Recorded]], Awaitable[None]]
"""Takes a connection in a transaction, the table to write to, and events of the projection's topics by position."""


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """A read model. A change of its rows, or of how they are computed, is a new version.

    `topics` are the stored names of its events, `key` the columns of its primary key. A version whose table no
    migration creates has two statements: `create` creates the table, `views` repoints the views `read_models.<name>`.
    In all statements `{table}` is the table's qualified name (see `rebuild`).

    A version whose rows hold content has two statements that purge it: `forget` purges the content of the erased users
    `$1`, `expire` the expired content of the rooms `$1`. Such columns have `STATISTICS 0`, since ANALYZE would keep
    samples.

    `heads` is true if the rows have the heads of rooms, which unreadable events move too. `row_key` returns the key of
    the row that an event is about; None if there is no such row, or if the event does not reveal it.
    """

    name: str
    version: int
    topics: tuple[str, ...]
    key: tuple[str, ...]
    apply: Apply
    create: str = ""
    views: str = ""
    forget: str = ""
    expire: str = ""
    heads: bool = False
    row_key: Callable[[Recorded], tuple[str | int, ...] | None] | None = None

    @property
    def table(self) -> str:
        """The table of this version; also its name in `notification_tracking` and the lock of its leader."""
        return f"{self.name}_v{self.version}"

    @property
    def relation(self) -> str:
        """The table's qualified name."""
        return relation(self.table)

    @property
    def followed(self) -> tuple[str, ...]:
        """The topics that `take` needs."""
        purges = {PersonErased.TOPIC: self.forget, ContentExpired.TOPIC: self.expire}
        return (*self.topics, *(topic for topic, statement in purges.items() if statement))

    def applies(self, recorded: Recorded) -> bool:
        """Return whether an event changes the rows."""
        if isinstance(recorded.event, Unreadable):
            return self.heads and recorded.stream.startswith(room_stream(""))
        return recorded.event.TOPIC in self.topics

    async def take(
        self, connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]
    ) -> None:
        """Apply a batch of the topics `followed` to a table."""
        if events := [recorded for recorded in batch if self.applies(recorded)]:
            await self.apply(connection, table, events)
        # Destroyed content is null in the batch already, so the order inside the batch does not matter.
        erased = [each.event.user for each in batch if isinstance(each.event, PersonErased)]
        if erased and self.forget:
            await connection.execute(self.forget.format(table=table), erased)
        expired = [each.event.room for each in batch if isinstance(each.event, ContentExpired)]
        if expired and self.expire:
            await connection.execute(self.expire.format(table=table), expired)


def relation(table: str) -> str:
    """Return the qualified name of a table of the read models."""
    return f"{SCHEMA}.{table}"
