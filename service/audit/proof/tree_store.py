"""Reads the stored tree: the newest checkpoint, the leaf of an event, and the hashes that proofs consist of."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from service.audit.proof import leaf
from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.merkle import EMPTY, STRIDE, Frontier, Span, inclusion, pieces, subtree
from service.audit.proof.signed_note import open_note
from service.audit.proof.signing_keys import SealKey

if TYPE_CHECKING:
    import asyncpg

HASH = len(EMPTY)
"""Bytes of a hash."""
_CACHED = 10_000
"""Hashes that `InclusionPaths` caches, about 100 bytes each."""


class NotSealed(Exception):
    """The event or subtree is not sealed, or not yet; the message is a sentence."""


class Sealed(NamedTuple):
    """A checkpoint, and the signed note that holds it."""

    checkpoint: Checkpoint
    note: str


async def newest(connection: "asyncpg.Connection[Any]", keys: Sequence[SealKey]) -> Sealed | None:
    """Return the newest checkpoint; None if nothing is sealed.

    Raises:
        NoteInvalid: none of `keys` has signed it.
    """
    note = await connection.fetchval("SELECT checkpoint FROM seals ORDER BY size DESC LIMIT 1")
    return None if note is None else read(note, keys)


def read(note: str, keys: Sequence[SealKey]) -> Sealed:
    """Return the checkpoint in a note.

    Raises:
        NoteInvalid: none of `keys` has signed it.
    """
    return Sealed(Checkpoint.parse(open_note(note, [key.verifier for key in keys])), note)


class SealedLeaf(NamedTuple):
    """The number of an event's leaf in the tree, and its hash as it was sealed."""

    number: int
    hash: bytes


class SealedLeaves:
    """Looks up the leaves of events. The last seal is cached, so look-ups in log order are cheapest."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._first = 0
        self._positions: list[int] = []
        self._hashes = b""

    async def of(self, position: int) -> SealedLeaf:
        """Return the leaf of the event at a position.

        Raises:
            NotSealed: the event is not sealed yet.
        """
        if not (self._positions and self._positions[0] <= position <= self._positions[-1]):
            row = await self._connection.fetchrow(_SEAL_OF, position)
            self._first, self._positions, self._hashes = row or (0, [], b"")
        offset = bisect_left(self._positions, position)
        if self._positions[offset : offset + 1] != [position]:
            advice = "is `onrecord project run` running?"
            raise NotSealed(f"The event at position {position} is not sealed yet; {advice}")
        return SealedLeaf(self._first + offset, self._hashes[HASH * offset : HASH * (offset + 1)])


async def changed(connection: "asyncpg.Connection[Any]", position: int) -> bool:
    """Return whether the event at a position differs from the sealed one; False if it is not sealed."""
    row = await connection.fetchrow(_STORED, position)
    try:
        sealed = await SealedLeaves(connection).of(position)
    except NotSealed:
        return False
    return row is None or leaf.hash_of_row(row, row["state"]) != sealed.hash


async def frontier(connection: "asyncpg.Connection[Any]", size: int) -> Frontier:
    """Return the right edge of the stored tree of `size` leaves."""
    edge = Frontier()
    for level, piece in await _hashes(connection, pieces(Span(0, size))):
        edge.push(level, piece)
    return edge


async def path(connection: "asyncpg.Connection[Any]", spans: Sequence[Span]) -> list[bytes]:
    """Return the hashes of subtrees of the stored tree."""
    wanted = [pieces(span) for span in spans]
    found = iter(await _hashes(connection, [piece for each in wanted for piece in each]))
    return [subtree([next(found) for _ in each]) for each in wanted]


class InclusionPaths:
    """Inclusion proofs of many leaves of one tree; hashes that neighbours share are read once."""

    def __init__(self, connection: "asyncpg.Connection[Any]", size: int) -> None:
        self._connection = connection
        self._size = size
        self._cache: dict[Span, bytes] = {}

    async def of(self, index: int) -> list[bytes]:
        """Return the proof of the leaf `index`."""
        spans = inclusion(index, self._size)
        if missing := [span for span in spans if span not in self._cache]:
            if len(self._cache) + len(missing) > _CACHED:
                self._cache.clear()
                missing = spans
            self._cache.update(zip(missing, await path(self._connection, missing), strict=True))
        return [self._cache[span] for span in spans]


async def _hashes(
    connection: "asyncpg.Connection[Any]", wanted: Sequence[tuple[int, int]]
) -> list[tuple[int, bytes]]:
    """Return the level and hash of each wanted subtree or leaf, in order.

    Raises:
        NotSealed: one is not stored, so the tables were changed after sealing.
    """
    nodes = [piece for piece in wanted if piece[0]]
    rows = await connection.fetch(_NODES, [level for level, _ in nodes], [number for _, number in nodes])
    stored = {(row["level"], row["number"]): row["hash"] for row in rows}
    for block in sorted({number >> STRIDE for level, number in wanted if not level}):
        first = block << STRIDE
        leaves = b"".join(
            row["hashes"] for row in await connection.fetch(_LEAVES, first, first + (1 << STRIDE))
        )
        for offset in range(len(leaves) // HASH):
            stored[0, first + offset] = leaves[HASH * offset : HASH * (offset + 1)]
    if missing := [piece for piece in wanted if piece not in stored]:
        level, number = missing[0]
        raise NotSealed(f"The seals lack subtree {number} of level {level}: run `onrecord audit verify`.")
    return [(piece[0], stored[piece]) for piece in wanted]


_SEAL_OF = """
    SELECT first, positions, hashes FROM seals WHERE positions[array_upper(positions, 1)] >= $1
    ORDER BY positions[array_upper(positions, 1)] LIMIT 1
"""
_STORED = f"SELECT {leaf.COLUMNS}, state FROM stored_events WHERE notification_id = $1"  # noqa: S608 - constants
_NODES = """
    SELECT n.level, n.number, n.hash
    FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, number) JOIN seal_nodes n USING (level, number)
"""
# The limit, the most seals that can hold these leaves, keeps the planner on the index by size.
_LEAVES = f"""
    SELECT substring(hashes FROM (greatest($1 - first, 0) * {HASH} + 1)::integer
        FOR ((least(size, $2) - greatest(first, $1)) * {HASH})::integer) AS hashes
    FROM (SELECT first, size, hashes FROM seals WHERE size > $1::bigint ORDER BY size LIMIT {1 << STRIDE}) seal
    WHERE first < $2::bigint ORDER BY size
"""  # noqa: S608 - constants
