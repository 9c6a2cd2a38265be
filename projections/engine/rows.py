"""Rows as values: read what a batch touches, fold the batch in memory, write it back, each in one statement.

The same fold serves the queries, which lay the log's tail over the rows; so what is asked now and what will be stored
later cannot differ.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from service.domain.events import Recorded

if TYPE_CHECKING:
    import asyncpg

Key = tuple[str, ...]
R = TypeVar("R", bound=msgspec.Struct)


class Rows(Generic[R]):
    """A kind of row: a struct whose fields are the table's columns, and how one event changes it.

    `columns` gives each field's type in SQL, `key` the fields that name a row, `key_of` an event's row, and
    `evolve(row, recorded)` the row afterwards, where None is a row that is not there yet.
    """

    def __init__(
        self,
        row: type[R],
        columns: Mapping[str, str],
        key: Sequence[str],
        key_of: Callable[[Recorded], Key],
        evolve: Callable[[R | None, Recorded], R],
    ) -> None:
        self._row = row
        self._key = tuple(key)
        self._key_of = key_of
        self._evolve = evolve
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
        """Lay `events`, by position, over `rows`; return the same dictionary."""
        for recorded in events:
            key = self._key_of(recorded)
            rows[key] = self._evolve(rows.get(key), recorded)
        return rows

    def by_key(self, records: Iterable[Mapping[str, Any]]) -> dict[Key, R]:
        """Return rows as the database gives them, by key."""
        rows = (
            self._row(**{name: record[name] for name in self._row.__struct_fields__}) for record in records
        )
        return {tuple(getattr(row, name) for name in self._key): row for row in rows}

    async def apply(
        self, connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]
    ) -> None:
        """Bring the rows in `table` that `batch` is about from before the batch to after it."""
        keys = dict.fromkeys(map(self._key_of, batch))
        before = await connection.fetch(self._load.format(table=table), *_transposed(keys))
        after = self.fold(self.by_key(before), batch)
        values = [msgspec.structs.astuple(row) for row in after.values()]
        await connection.execute(self._save.format(table=table), *_transposed(values))


def _transposed(tuples: Collection[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*tuples, strict=True)]


def _arrays(types: Iterable[str]) -> str:
    return ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, 1))
