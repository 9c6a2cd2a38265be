"""Forgetting refs: a retry is answered as before for seven days, and no table grows without bound."""

from typing import TYPE_CHECKING, Any

from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    import asyncpg


BATCH = 10_000


async def purge(database: "asyncpg.Pool[Any]", deadline: float) -> int:
    """Forget refs older than seven days, a batch at a time, each within `deadline` seconds; return how many.

    Raises:
        Unavailable: the database cannot be reached.
    """
    forgotten = 0
    while deleted := await retry_read(lambda: _purge_some(database), deadline):
        forgotten += deleted
    return forgotten


async def _purge_some(database: "asyncpg.Pool[Any]") -> int:
    return int(await database.fetchval("SELECT forget_refs($1)", BATCH))
