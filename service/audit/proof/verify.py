"""Verifies the whole log against its seals: hashes every event, rebuilds the tree, and checks every signature.

Trusted are the signatures of this installation's keys, and an older checkpoint kept outside the database (`against`).
The log is read once, in one snapshot and in constant memory.

Seals prove that an event was not changed after sealing, not that `chat_append` wrote it: the owner of the tables can
add an event at the end of the log before it is sealed. Therefore positions, times and the seqs of every stream are
checked over the whole log, sealed or not (`service.audit.proof.order`).

Invariant: verification stops at the first mismatch and reports its position.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from service.audit.proof import leaf, signing_keys
from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.merkle import Frontier, Node
from service.audit.proof.order import Order, OutOfOrder, bounds, check_streams
from service.audit.proof.signed_note import NoteInvalid, VerifierKey, open_note
from service.audit.proof.tree_store import HASH
from service.eventstore.connections import is_shared
from service.protocol.forms import printable

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.cursor import Cursor

CHUNK = 200
"""Events in memory at a time."""


class Tampered(Exception):
    """The record differs from what was sealed; `position` is the first mismatch, the message describes it."""

    def __init__(self, position: int, problem: str) -> None:
        self.position = position
        super().__init__(problem)


class Verified(NamedTuple):
    """The record matches its seals: `size` events, then `unsealed` ones, the first recorded at `since`."""

    size: int
    unsealed: int
    since: datetime | None


async def verify(
    connection: "asyncpg.Connection[Any]", key_encryption_key: bytes, against: str | None = None
) -> Verified:
    """Verify the whole log; `against` is the note of an older checkpoint that was kept elsewhere.

    Raises:
        Tampered: the record differs from what was sealed.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        first = await connection.fetchval("SELECT coalesce(min(notification_id), 0) FROM stored_events")
        try:
            keys = [key.verifier for key in await signing_keys.load(connection, key_encryption_key)]
        except signing_keys.SealKeyInvalid as problem:
            raise Tampered(first, str(problem).removesuffix(".")) from problem
        try:
            older = Checkpoint.parse(open_note(against, keys)) if against is not None else None
        except NoteInvalid as problem:
            message = f"the checkpoint kept elsewhere does not belong to this log: {problem}"
            raise Tampered(first, message) from problem
        order = Order(await bounds(connection))
        check = _Check(keys, older, order, await connection.cursor(_EVENTS), await connection.cursor(_NODES))
        try:
            async for seal in connection.cursor(_SEALS, prefetch=4):
                await check.seal(seal)
            await check.end()
            unsealed, since = await check.unsealed()
            await check_streams(connection)
            if is_shared(connection):
                await connection.execute("DEALLOCATE ALL")  # a cursor has a named statement
        except OutOfOrder as problem:
            raise Tampered(problem.position, str(problem)) from problem
    return Verified(check.edge.size, unsealed, since)


async def stored_at(connection: "asyncpg.Connection[Any]", position: int) -> str:
    """Return a phrase for the event that is stored at a position: its room or stream, its number and its type."""
    row = await connection.fetchrow(_PLACE, position)
    if row is None:
        return "no event is stored there"
    stream, topic = printable(row["stream"]), printable(row["topic"])
    place = (
        f"the room {stream.removeprefix('room:')}" if stream.startswith("room:") else f"the stream {stream}"
    )
    return f"event {row['seq']} of {place}, {topic}"


class _Check:
    """The rebuilt tree, and the position in the log that it has reached."""

    def __init__(
        self,
        keys: Sequence[VerifierKey],
        older: Checkpoint | None,
        order: Order,
        events: "Cursor[Any]",
        nodes: "Cursor[Any]",
    ) -> None:
        self.edge = Frontier()
        self.position = 0
        self._keys = keys
        self._older = older
        self._order = order
        self._events = events
        self._nodes = nodes

    async def seal(self, seal: Any) -> None:
        """Check one seal and the events under it."""
        positions, hashes = seal["positions"], seal["hashes"]
        first = positions[0] if positions else self.position + 1
        if seal["first"] != self.edge.size:
            raise Tampered(self.position + 1, f"the seal after {self.edge.size} events is missing")
        if len(positions) != seal["size"] - seal["first"] or len(hashes) != HASH * len(positions):
            raise Tampered(first, "the seal is incomplete")
        if any(type(position) is not int for position in positions):
            raise Tampered(self.position + 1, "the seal has a value that is not a position")
        try:
            signed = Checkpoint.parse(open_note(seal["checkpoint"], self._keys))
        except NoteInvalid as problem:
            raise Tampered(first, f"its checkpoint was changed: {problem}") from problem
        for start in range(0, len(positions), CHUNK):
            wanted = positions[start : start + CHUNK]
            await self._chunk(wanted, hashes[HASH * start : HASH * (start + len(wanted))])
        if (signed.size, signed.root, signed.position) != (self.edge.size, self.edge.root(), self.position):
            raise Tampered(first, "the tree of these events is not the one that was signed")

    async def _chunk(self, positions: Sequence[int], hashes: bytes) -> None:
        rows = await self._events.fetch(len(positions))
        leaves: list[bytes] = []
        for index, (row, position) in enumerate(zip(rows, positions, strict=False)):
            if row["position"] < position:
                raise Tampered(row["position"], "the event here was inserted after sealing")
            if row["position"] > position:
                raise Tampered(position, "the event here is missing")
            hashed = leaf.hash_of_row(row, row["state"]) if leaf.ids_match(row) else None
            if hashed is None or hashed != hashes[HASH * index : HASH * (index + 1)]:
                raise Tampered(position, "the event here, or its seal, was changed")
            self._order.check(position, leaf.microseconds(row["at"]))
            leaves.append(hashed)
        if len(rows) < len(positions):
            raise Tampered(positions[len(rows)], "the event here is missing, and all after it")
        await self._extend(leaves, positions)

    async def _extend(self, leaves: list[bytes], positions: Sequence[int]) -> None:
        older, first = self._older, self.edge.size
        cut = older.size - first if older and first < older.size <= first + len(leaves) else 0
        nodes = self.edge.extend(leaves[:cut])
        if older and cut and (self.edge.root(), positions[cut - 1]) != (older.root, older.position):
            message = "the record up to here differs from that of the checkpoint kept elsewhere"
            raise Tampered(positions[cut - 1], message)
        nodes += self.edge.extend(leaves[cut:])
        stored = await self._nodes.fetch(len(nodes)) if nodes else []
        if [Node(*row) for row in stored] != nodes:
            raise Tampered(positions[0], "the stored subtrees over the events here were changed")
        self.position = positions[-1]

    async def end(self) -> None:
        """Check that neither the older checkpoint nor the stored subtrees exceed the tree."""
        if self._older and self._older.size > self.edge.size:
            message = (
                f"the record ends here, after {self.edge.size} sealed events; "
                f"the checkpoint kept elsewhere has {self._older.size}"
            )
            raise Tampered(self.position + 1, message)
        if await self._nodes.fetch(1):
            raise Tampered(self.position, "a subtree is stored that the tree does not have")

    async def unsealed(self) -> tuple[int, datetime | None]:
        """Check the order of the unsealed events; return their number and the time of the first."""
        count, since = 0, None
        while rows := await self._events.fetch(CHUNK):
            for row in rows:
                at = leaf.microseconds(row["at"])
                self._order.check(row["position"], at)
                since = since or leaf.moment(at)
            count += len(rows)
        return count, since


_EVENTS = f"SELECT {leaf.COLUMNS}, originator_id, key_id, state FROM stored_events ORDER BY notification_id"  # noqa: S608 - constants
_PLACE = """
    SELECT stream, originator_version AS seq, topic FROM stored_events WHERE notification_id = $1::numeric
"""
_SEALS = "SELECT size, first, positions, hashes, checkpoint FROM seals ORDER BY size"
# Numeric, because a forged number could leave the range of bigint.
_NODES = (
    "SELECT level, number, hash FROM seal_nodes ORDER BY (number + 1::numeric) * (1::bigint << level), level"
)
