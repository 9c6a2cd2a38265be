"""The contract of a read model: which events it is made of, and how a batch of them becomes rows.

The rule: `apply` is a fold. What the rows are depends on the events and their order alone, never on where the log was
cut into batches, on the clock or on what else is in the database; so followed and rebuilt are equal.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from service.domain.events import Recorded

if TYPE_CHECKING:
    import asyncpg

Apply = Callable[["asyncpg.Connection[Any]", str, Sequence[Recorded]], Awaitable[None]]
"""Takes a connection in a transaction, the table to write to, and events of the projection's topics by position."""


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """A read model. Another shape of the rows, or another way to make them, is another version.

    `topics` are the stored names of the events that it is made of, `key` the columns of its primary key. A version
    whose table no migration makes has the statements for it here: `create`, and `views`, which repoints the public
    views; both say `{table}`. See `rebuild`.
    """

    name: str
    version: int
    topics: tuple[str, ...]
    key: tuple[str, ...]
    apply: Apply
    create: str = ""
    views: str = ""

    @property
    def table(self) -> str:
        """The table of this version; also its name in `notification_tracking` and the lock of its leader."""
        return f"{self.name}_v{self.version}"
