"""Applies a batch to rows: reads the rows that it touches, folds it in memory and writes them back, in two statements.

Queries use the same fold to apply the log's tail to the rows, so that their answers and the later rows cannot differ.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_type_hints

import msgspec

from projections.engine.projection import Projection
from projections.engine.snapshot import Row, Snapshot
from service.domain.events import Recorded
from service.domain.streams import user_subject

if TYPE_CHECKING:
    import asyncpg

_SQL_TYPES = {bool: "boolean", int: "bigint", datetime: "timestamptz"}

_OF_ROOMS = "SELECT * FROM {relation} WHERE room_id = ANY (CAST(:rooms AS text[]))"

Key = tuple[str, ...]
R = TypeVar("R", bound=msgspec.Struct)


class Rows(Generic[R]):
    """Maps rows to a struct whose fields are the table's columns, and folds events into them.

    `key` has the fields that identify a row. `key_of` returns the key of an event's row. `evolve(row, recorded)`
    returns the row after an event; `row` is None if the row does not exist yet.
    """

    def __init__(
        self,
        row: type[R],
        key: tuple[str, ...],
        key_of: Callable[[Recorded], Key],
        evolve: Callable[[R | None, Recorded], R],
    ) -> None:
        self.key = key
        self._row = row
        self._key_of = key_of
        self._evolve = evolve
        columns = {name: _sql_type(hint) for name, hint in get_type_hints(row).items()}
        names, keys = ", ".join(columns), ", ".join(key)
        arrays = _arrays(columns.values())
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
        wanted = f"unnest({_arrays(columns[name] for name in key)}) AS wanted ({keys})"
        self._load = f"SELECT {names} FROM {wanted} JOIN {{table}} USING ({keys})"  # noqa: S608 - constants
        self._save = (
            f"INSERT INTO {{table}} ({names}) SELECT * FROM unnest({arrays}) "  # noqa: S608 - constants
            f"ON CONFLICT ({keys}) DO UPDATE SET {updates}"
        )

    def fold(self, rows: dict[Key, R], events: Iterable[Recorded]) -> dict[Key, R]:
        """Apply `events`, by position, to `rows`; return the same dictionary."""
        for recorded in events:
            key = self._key_of(recorded)
            rows[key] = self._evolve(rows.get(key), recorded)
        return rows

    def by_key(self, records: Iterable[Mapping[str, Any]]) -> dict[Key, R]:
        """Return database rows as structs, by key."""
        rows = (
            self._row(**{name: record[name] for name in self._row.__struct_fields__}) for record in records
        )
        return {tuple(getattr(row, name) for name in self.key): row for row in rows}

    async def of_user(
        self, now: Snapshot, tail: list[Row], projection: Projection, user: str
    ) -> Collection[R]:
        """Return the rows of a user, within a snapshot whose `tail` has the events about the user."""
        query = f"SELECT * FROM {projection.relation} WHERE user_id = :user"  # noqa: S608 - a constant
        rows = self.by_key(await now.fetch(query, user=user))
        subject = user_subject(user)
        events = (event for event in now.lacking(tail, projection) if event.subject == subject)
        return self.fold(rows, events).values()

    async def of_rooms(
        self, now: Snapshot, tail: list[Row], projection: Projection, rooms: Collection[str]
    ) -> dict[Key, R]:
        """Return the rows of some rooms by key, within a snapshot whose `tail` has the events about them."""
        query = _OF_ROOMS.format(relation=projection.relation)
        found = self.by_key(await now.fetch(query, rooms=list(rooms)))
        return self.fold(found, now.lacking(tail, projection))

    async def apply(
        self, connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]
    ) -> None:
        """Apply `batch` to the rows in `table` that it is about."""
        keys = dict.fromkeys(map(self._key_of, batch))
        before = await connection.fetch(self._load.format(table=table), *_transposed(keys))
        after = self.fold(self.by_key(before), batch)
        values = [msgspec.structs.astuple(row) for row in after.values()]
        await connection.execute(self._save.format(table=table), *_transposed(values))


def _transposed(tuples: Collection[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*tuples, strict=True)]


def _sql_type(hint: Any) -> str:
    """Return the SQL type of a field's type, which may be optional; texts and literals are `text`."""
    return next((_SQL_TYPES[part] for part in (hint, *get_args(hint)) if part in _SQL_TYPES), "text")


def _arrays(types: Iterable[str]) -> str:
    return ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, 1))
