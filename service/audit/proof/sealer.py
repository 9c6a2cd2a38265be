"""Seals the log: follows it like a projection, appends new events to the tree, and signs a checkpoint.

One sealer leads: it holds a session advisory lock on the connection that it writes over. Over a shared session, behind
a pooler in transaction mode, a sealer holds the lock for one seal, and resumes if another has sealed since. A unique
constraint prevents forks without the lock: a seal names the tree size that it extends, and no size is extended twice.
Sealing is not part of a commit and lags by about a second.

Invariant: the sealer signs only extensions of the last signed tree. If the stored tree differs from the signed one, it
signs nothing and logs `seals_broken` repeatedly.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from struct import error as NumberTooLarge  # noqa: N812 - the only cause
from typing import TYPE_CHECKING, Any

from service.audit.proof import leaf, signing_keys, tree_store
from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.merkle import Frontier, leaf_hash
from service.audit.proof.signed_note import NoteInvalid
from service.eventstore.connections import is_shared
from service.eventstore.notifications import CHANNEL
from service.runtime.database_retry import hard_timeout

if TYPE_CHECKING:
    import asyncpg

MAX_EVENTS = 2_000
"""The most events in one seal."""

PAUSE = 0.5
"""Seconds between two seals at a low rate of events: half of the allowed lag, so that seals stay few."""

DEADLINE = 30.0
"""Seconds after which a step is abandoned, with its connection."""

BROKEN_PAUSE = 30.0
"""Seconds between two checks of a broken tree."""

Connect = Callable[[], Awaitable[Any]]

log = logging.getLogger("onrecord.seal")


class SealsBroken(Exception):
    """The stored tree differs from the last signed one, or the log holds a row that cannot be sealed."""


class Sealer:
    """Keeps the tree up to date with the log.

    `connect` opens an asyncpg connection; `interval` is the polling interval in seconds without notifications. For
    metrics: `size` is the number of sealed events, `caught_up_at` the loop time at which the log was last fully sealed.
    """

    def __init__(self, connect: Connect, key_encryption_key: bytes, interval: float) -> None:
        self.size = 0
        self.caught_up_at: float | None = None
        self.leading = False
        self._connect = connect
        self._key_encryption_key = key_encryption_key
        self._interval = interval
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Seal until cancelled or until a failure; the caller runs it again."""
        connection = await self._connect()
        try:
            if is_shared(connection):
                self.leading = True
            else:
                await self._lead(connection)
                with hard_timeout(connection, DEADLINE):
                    await connection.add_listener(CHANNEL, self._on_notification)
            connection.add_termination_listener(self._on_notification)
            await self._follow(connection)
        except (SealsBroken, NoteInvalid, signing_keys.SealKeyInvalid, tree_store.NotSealed) as problem:
            advice = "nothing is signed any more: run `onrecord audit verify`"
            log.error("seals_broken", extra={"problem": str(problem), "advice": advice})  # noqa: TRY400 - no fault of the code
            await asyncio.sleep(BROKEN_PAUSE)
        finally:
            self.leading = False
            connection.terminate()  # an orderly close could block; the server rolls back by itself

    async def _lead(self, connection: "asyncpg.Connection[Any]") -> None:
        """Wait to become the leader by polling: a blocked query would hold back vacuum."""
        with hard_timeout(connection, DEADLINE):
            await connection.execute(_SESSION)
        while True:
            with hard_timeout(connection, DEADLINE):
                self.leading = await connection.fetchval(_TRY_TO_LEAD)
            if self.leading:
                return
            await asyncio.sleep(self._interval)

    async def _follow(self, connection: "asyncpg.Connection[Any]") -> None:
        with hard_timeout(connection, DEADLINE):
            edge, position = await self._resume(connection)
        log.info("sealer_leads", extra={"size": edge.size, "position": position})
        while True:
            self._wake.clear()
            more = True
            while more:
                with hard_timeout(connection, DEADLINE):
                    if is_shared(connection):
                        edge, position, upto = await self._seal_in_turn(connection, edge, position)
                    else:
                        upto = await self._seal(connection, edge, position)
                more = edge.size - self.size >= MAX_EVENTS
                position, self.size = upto, edge.size
            self.caught_up_at = asyncio.get_running_loop().time()
            await asyncio.sleep(PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()

    async def _resume(self, connection: "asyncpg.Connection[Any]") -> tuple[Frontier, int]:
        """Return the last signed tree and its last position."""
        await signing_keys.create(connection, self._key_encryption_key)
        last = await tree_store.newest(
            connection, await signing_keys.load(connection, self._key_encryption_key)
        )
        checkpoint = last.checkpoint if last else None
        edge = await tree_store.frontier(connection, checkpoint.size if checkpoint else 0)
        if checkpoint and edge.root() != checkpoint.root:
            raise SealsBroken(f"the stored tree of {edge.size} events is not the one that was signed")
        self.size = edge.size
        return edge, checkpoint.position if checkpoint else 0

    async def _seal_in_turn(
        self, connection: "asyncpg.Connection[Any]", edge: Frontier, after: int
    ) -> tuple[Frontier, int, int]:
        """Seal as the leader of one transaction; return the tree, and the positions before and after this seal."""
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(_STEP)
            if not await connection.fetchval(_TRY_TO_SEAL):
                return edge, after, after
            if await connection.fetchval(_SIZE) != edge.size:  # another sealer has extended the tree
                edge, after = await self._resume(connection)
            return edge, after, await self._seal(connection, edge, after)

    async def _seal(self, connection: "asyncpg.Connection[Any]", edge: Frontier, after: int) -> int:
        """Seal the next events after a position, in one transaction; return the last position sealed.

        After an exception `edge` is ahead of the stored tree and must be discarded.
        """
        # The database computes the digests, so that few bytes travel even for long events.
        rows = await connection.fetch(_NEXT, after, MAX_EVENTS)
        if not rows:
            return after
        first = edge.size
        hashes = [_hash(row) for row in rows]
        nodes = edge.extend(hashes)
        positions = [row["position"] for row in rows]
        async with connection.transaction():
            # Read each time, because the key may have been rotated.
            signer = (await signing_keys.load(connection, self._key_encryption_key))[-1].signer
            checkpoint = Checkpoint(signer.verifier.name, edge.size, edge.root(), positions[-1])
            note = signer.sign(str(checkpoint))
            await connection.execute(_INSERT_SEAL, edge.size, first, positions, b"".join(hashes), note)
            if nodes:
                levels, numbers, hashes_of_nodes = (list(column) for column in zip(*nodes, strict=True))
                await connection.execute(_INSERT_NODES, levels, numbers, hashes_of_nodes)
        return int(positions[-1])

    def _on_notification(self, *_about: object) -> None:
        self._wake.set()


def _hash(row: Any) -> bytes:
    """Return the leaf hash of a row.

    Raises:
        SealsBroken: the time does not fit into a leaf, so `chat_append` did not write the row.
    """
    try:
        return leaf_hash(leaf.encode(leaf.of_row(row, row["digest"])))
    except NumberTooLarge as problem:
        message = f"the time of the event at position {row['position']} is out of range"
        raise SealsBroken(message) from problem


# A plan cached while a table was small would be used after it has grown. A leader that died must not keep the lock, so
# the server checks whether its client is still connected, during a query and between two.
_SESSION = """
    SET plan_cache_mode = force_custom_plan; SET client_connection_check_interval = '1s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3
"""
_STEP = "SET LOCAL client_connection_check_interval = '1s'"
_TRY_TO_SEAL = "SELECT pg_try_advisory_xact_lock(7236112)"
_SIZE = "SELECT coalesce(max(size), 0) FROM seals"
_TRY_TO_LEAD = "SELECT pg_try_advisory_lock(7236112)"
_NEXT = f"""
    SELECT {leaf.COLUMNS}, sha256(state) AS digest FROM stored_events
    WHERE notification_id > $1 ORDER BY notification_id LIMIT $2
"""  # noqa: S608 - constants
_INSERT_SEAL = "INSERT INTO seals (size, first, positions, hashes, checkpoint) VALUES ($1, $2, $3, $4, $5)"
_INSERT_NODES = """
    INSERT INTO seal_nodes (level, number, hash) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
"""
