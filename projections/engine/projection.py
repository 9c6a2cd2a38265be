"""The contract of a read model: which events it is made of, and how a batch of them becomes rows.

The rule: `apply` is a fold. What the rows are depends on the events and their order alone, never on where the log was
cut into batches, on the clock or on what else is in the database; so followed and rebuilt are equal.
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
    """A read model. Another shape of the rows, or another way to make them, is another version.

    `topics` are the stored names of the events that it is made of, `key` the columns of its primary key. A version
    whose table no migration makes has the statements for it here: `create`, and `views`, which repoints the views
    `read_models.<name>`; both say `{table}`, the qualified name of the table. See `rebuild`. One whose rows hold words
    says how they are taken from `{table}`: in
    `forget` those of the people `$1`, who are erased, in `expire` what has expired in the rooms `$1`. Such columns have
    `STATISTICS 0`, since ANALYZE keeps samples elsewhere.

    `heads` says that its rows have the heads of rooms, so that an event whose kind is not known counts too. `row_of`
    returns the `key` of the row that an event is about, None where it is about none or that cannot be read.
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
    row_of: Callable[[Recorded], tuple[str | int, ...] | None] | None = None

    @property
    def table(self) -> str:
        """The table of this version; also its name in `notification_tracking` and the lock of its leader."""
        return f"{self.name}_v{self.version}"

    @property
    def relation(self) -> str:
        """The table as SQL names it, whatever the session's search path."""
        return relation(self.table)

    @property
    def followed(self) -> tuple[str, ...]:
        """The topics that are read of the log for `take`."""
        silencing = {PersonErased.TOPIC: self.forget, ContentExpired.TOPIC: self.expire}
        return (*self.topics, *(topic for topic, statement in silencing.items() if statement))

    def applies(self, recorded: Recorded) -> bool:
        """Return whether an event is one of those that the rows are made of."""
        if isinstance(recorded.event, Unreadable):
            return self.heads and recorded.stream.startswith(room_stream(""))
        return recorded.event.TOPIC in self.topics

    async def take(
        self, connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]
    ) -> None:
        """Bring a table from before a batch of the topics `followed` to after it."""
        if events := [recorded for recorded in batch if self.applies(recorded)]:
            await self.apply(connection, table, events)
        # What is gone reads as null in the batch already, so where in it that was recorded does not matter.
        erased = [one.event.user for one in batch if isinstance(one.event, PersonErased)]
        if erased and self.forget:
            await connection.execute(self.forget.format(table=table), erased)
        expired = [one.event.room for one in batch if isinstance(one.event, ContentExpired)]
        if expired and self.expire:
            await connection.execute(self.expire.format(table=table), expired)


def relation(table: str) -> str:
    """Return the qualified name of a table of the read models."""
    return f"{SCHEMA}.{table}"
