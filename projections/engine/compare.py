"""Compares two tables of one read model, row by row, in both directions."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    import asyncpg

MAX_KEYS = 5
"""Differing rows that a report names."""


class Difference(TypedDict):
    """`rows` in the live table; how many are `missing` from it, `extra` in it, and `changed`; the first few `keys`."""

    rows: int
    missing: int
    extra: int
    changed: int
    keys: list[list[str]]


async def compare(
    connection: "asyncpg.Connection[Any]",
    key: Sequence[str],
    live: str,
    fresh: str,
    columns: Sequence[str] = ("*",),
    ignored: Collection[tuple[str | int, ...]] = (),
) -> Difference:
    """Compare a live table with a fresh one; `columns` includes those of the key, `ignored` has keys of rows to skip.

    The keys that differ stay in the temporary table `differing` until the transaction ends.
    """
    keys = ", ".join(key)
    selected = ", ".join(f'"{name}"' if name != "*" else name for name in columns)
    texts = ", ".join(f"{name}::text" for name in key)
    await connection.execute(f"""
        CREATE TEMPORARY TABLE differing ON COMMIT DROP AS
        SELECT {keys}, bool_or(live) AS live, bool_or(NOT live) AS fresh
        FROM (
            SELECT {keys}, true FROM (SELECT {selected} FROM {live} EXCEPT SELECT {selected} FROM {fresh}) extra
            UNION ALL
            SELECT {keys}, false FROM (SELECT {selected} FROM {fresh} EXCEPT SELECT {selected} FROM {live}) missing
        ) found ({keys}, live)
        GROUP BY {keys}""")  # noqa: S608 - names of our own
    if ignored:
        wanted = ", ".join(f"${number}::text[]" for number in range(1, len(key) + 1))
        names = ", ".join(f"ignored_{name}" for name in key)
        same = " AND ".join(f"d.{name}::text = ignored_{name}" for name in key)
        values = [list(map(str, column)) for column in zip(*ignored, strict=True)]
        statement = f"DELETE FROM differing d USING unnest({wanted}) AS ignored ({names}) WHERE {same}"  # noqa: S608 - names of our own
        await connection.execute(statement, *values)
    row = await connection.fetchrow(f"""
        SELECT (SELECT count(*) FROM {live}) AS rows,
            count(*) FILTER (WHERE NOT live) AS missing,
            count(*) FILTER (WHERE NOT fresh) AS extra,
            count(*) FILTER (WHERE live AND fresh) AS changed,
            ARRAY(SELECT ARRAY[{texts}] FROM differing ORDER BY {keys} LIMIT {MAX_KEYS}) AS keys
        FROM differing""")  # noqa: S608 - names of our own
    assert row is not None  # noqa: S101 - aggregates have one row
    return cast("Difference", dict(row))
