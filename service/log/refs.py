"""Forgetting refs: a retry is answered as before for seven days, and no table grows without bound."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg


KEPT_DAYS = 7
BATCH = 10_000


async def purge(database: "asyncpg.Pool[Any]") -> int:
    """Forget refs older than `KEPT_DAYS`, a batch at a time; return how many.

    Raises:
        asyncpg.PostgresError, OSError, TimeoutError: the database cannot be reached.
    """
    forgotten = 0
    while deleted := int((await database.execute(_PURGE, KEPT_DAYS, BATCH)).split()[-1]):
        forgotten += deleted
    return forgotten


_PURGE = """
    DELETE FROM refs WHERE (user_id, ref) IN (
        SELECT user_id, ref FROM refs WHERE recorded_at < now() - make_interval(days => $1) LIMIT $2)
"""
