"""Leases of the nodes: each node renews a row in Postgres; the other nodes fence one whose lease has run out.

A node begins a new *incarnation* when it starts, and when it finds itself fenced because it was paused or cut off. It
renews the lease of its incarnation every third of `LEASE`. Any node fences incarnations whose lease has run out, and
closes their sessions (`service.cluster.session_reaper`), so fencing is final.

Invariant: the row decides, on the database's clock; a node that cannot reach Postgres does not count as fenced. Only a
node that has renewed in time for a whole lease fences others, because all leases have run out after an outage of
Postgres.
"""

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from service.errors import Unavailable
from service.runtime.database_retry import retry_read

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

LEASE = 10.0
"""Seconds from a renewal to the end of the lease: a node that pauses longer may be fenced."""

RETRY = 0.5
"""Seconds between two tries to renew."""

KEPT_DAYS = 7
"""Days for which the rows of ended incarnations are kept."""

log = logging.getLogger("onrecord.leases")


class Lease:
    """This node's lease.

    For metrics: `renewed_at`, by the loop's clock, and `fencings`, of this node.
    """

    def __init__(
        self, database: "asyncpg.Pool[Any]", node: str, *, deadline: float, seconds: float = LEASE
    ) -> None:
        self.node = node
        self.incarnation = uuid4()
        self.seconds = seconds
        self._database = database
        self._deadline = deadline
        self._taken = asyncio.Event()
        self.renewed_at: float | None = None
        self.fencings = 0

    async def run(
        self, fenced: "Callable[[], None]" = lambda: None, renewed: "Callable[[], None]" = lambda: None
    ) -> None:
        """Take the lease and renew it until cancelled.

        `fenced` is called when the row shows that another node fenced this one, after `incarnation` was replaced.
        `renewed` is called after each renewal.
        """
        while True:
            try:
                await self._keep(fenced)
                renewed()
            except Unavailable:
                log.warning("lease_not_renewed", extra={"incarnation": str(self.incarnation)})
                await asyncio.sleep(RETRY)
            else:
                await asyncio.sleep(self.seconds / 3)

    async def taken(self) -> UUID:
        """Return this node's incarnation once its row exists."""
        await self._taken.wait()
        return self.incarnation

    async def fence_expired(self) -> list[UUID]:
        """Fence the incarnations whose lease has run out, if this node may fence others; return them.

        Raises:
            Unavailable: Postgres cannot be reached.
        """
        rows = await self._fetch(_FENCE_EXPIRED, self.incarnation, timedelta(seconds=self.seconds))
        for row in rows:
            log.warning("node_fenced", extra={"other": row["node"], "incarnation": str(row["incarnation"])})
        return [row["incarnation"] for row in rows]

    async def end(self) -> None:
        """End this incarnation if it has a lease; if Postgres cannot be reached, the lease runs out."""
        if not self._taken.is_set():
            return
        try:
            await self._fetch(_END, self.incarnation)
        except Unavailable:
            log.warning("lease_not_ended", extra={"incarnation": str(self.incarnation)})

    async def _keep(self, fenced: "Callable[[], None]" = lambda: None) -> None:
        span = timedelta(seconds=self.seconds)
        if not self._taken.is_set():
            await self._fetch(_TAKE, self.incarnation, self.node, span)
            self._taken.set()
            log.info("lease_taken", extra={"incarnation": str(self.incarnation)})
        elif not await self._fetch(_RENEW, self.incarnation, span):
            self._begin_incarnation(fenced)
            await self._keep(fenced)
        self.renewed_at = asyncio.get_running_loop().time()

    def _begin_incarnation(self, fenced: "Callable[[], None]") -> None:
        log.error("fenced", extra={"incarnation": str(self.incarnation)})
        # No await before the call of `fenced`, so that nothing more is done under the old incarnation.
        self.incarnation = uuid4()
        self.fencings += 1
        self._taken.clear()
        fenced()

    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run an idempotent statement."""
        return await retry_read(lambda: self._database.fetch(statement, *arguments), self._deadline)


async def purge(database: "asyncpg.Pool[Any]", deadline: float) -> None:
    """Delete incarnations that ended `KEPT_DAYS` ago or earlier and have no open sessions.

    Raises:
        Unavailable: the database cannot be reached within `deadline` seconds.
    """
    await retry_read(lambda: database.execute(_PURGE, KEPT_DAYS), deadline)


_TAKE = """
    INSERT INTO incarnations (incarnation, node, started_at, renewed_at, unbroken_since, expires_at)
    SELECT $1, $2, t, t, t, t + $3::interval FROM clock_timestamp() t
    ON CONFLICT DO NOTHING
"""
# After more than half a lease without a renewal, `unbroken_since` restarts: other nodes may have been cut off as well.
_RENEW = """
    UPDATE incarnations SET
        unbroken_since = CASE WHEN t - renewed_at > $2::interval / 2 THEN t ELSE unbroken_since END,
        renewed_at = t, expires_at = t + $2::interval
    FROM clock_timestamp() t
    WHERE incarnation = $1 AND fenced_at IS NULL AND ended_at IS NULL
    RETURNING incarnation
"""
_FENCE_EXPIRED = """
    UPDATE incarnations other SET fenced_at = clock_timestamp(), fenced_by = $1
    WHERE other.fenced_at IS NULL AND other.ended_at IS NULL AND other.expires_at < clock_timestamp()
        AND EXISTS (
            SELECT FROM incarnations mine
            WHERE mine.incarnation = $1 AND mine.fenced_at IS NULL AND mine.ended_at IS NULL
                AND mine.expires_at > clock_timestamp() AND mine.unbroken_since <= clock_timestamp() - $2::interval)
    RETURNING other.incarnation, other.node
"""
_END = "UPDATE incarnations SET ended_at = clock_timestamp() WHERE incarnation = $1 AND fenced_at IS NULL"
_PURGE = """
    DELETE FROM incarnations i
    WHERE coalesce(i.fenced_at, i.ended_at) < now() - make_interval(days => $1)
        AND NOT EXISTS (SELECT FROM open_sessions s WHERE s.incarnation = i.incarnation)
"""
