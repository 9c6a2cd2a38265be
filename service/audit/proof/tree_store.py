"""The stored tree: its newest checkpoint, the place of an event in it, and the hashes that a proof is made of."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from service.audit.proof import leaf
from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.merkle import EMPTY, STRIDE, Frontier, Span, inclusion, leaf_hash, pieces, subtree
from service.audit.proof.signed_note import open_note
from service.audit.proof.signing_keys import SealKey

if TYPE_CHECKING:
    import asyncpg

HASH = len(EMPTY)
_KNOWN = 10_000
"""Hashes that `Paths` keeps, about 100 bytes each."""


class NotSealed(Exception):
    """What was asked for is not sealed, or not yet; the message is a sentence."""


class Sealed(NamedTuple):
    """The newest checkpoint, and the note that it was signed in."""

    checkpoint: Checkpoint
    note: str


async def newest(connection: "asyncpg.Connection[Any]", keys: Sequence[SealKey]) -> Sealed | None:
    """Return the newest checkpoint; None where nothing was sealed.

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


class Place(NamedTuple):
    """Where in the tree an event is: the number of its leaf, and the hash of that as it was sealed."""

    number: int
    hash: bytes


class Places:
    """Where events are, best asked in the order of their positions: the seal that was looked at last is kept."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._first = 0
        self._positions: list[int] = []
        self._hashes = b""

    async def of(self, position: int) -> Place:
        """Return the leaf of the event at a position.

        Raises:
            NotSealed: it has none.
        """
        if not (self._positions and self._positions[0] <= position <= self._positions[-1]):
            await self._look(position)
        place = bisect_left(self._positions, position)
        if self._positions[place : place + 1] != [position]:
            advice = "is `onrecord project run` running?"
            raise NotSealed(f"The event at position {position} is not sealed yet; {advice}")
        return Place(self._first + place, self._hashes[HASH * place : HASH * (place + 1)])

    async def _look(self, position: int) -> None:
        row = await self._connection.fetchrow(_SEAL_OF, position)
        self._first, self._positions, self._hashes = row or (0, [], b"")


async def changed(connection: "asyncpg.Connection[Any]", position: int) -> bool:
    """Return whether the event at a position is not the one that was sealed; false where it is not sealed."""
    row = await connection.fetchrow(_STORED, position)
    try:
        place = await Places(connection).of(position)
    except NotSealed:
        return False
    return row is None or leaf_hash(leaf.encode(leaf.of_row(row, leaf.digest(row["state"])))) != place.hash


async def frontier(connection: "asyncpg.Connection[Any]", size: int) -> Frontier:
    """Return the right edge of the tree of `size` leaves, from what is stored."""
    edge = Frontier()
    for level, piece in await _hashes(connection, pieces(Span(0, size))):
        edge.push(level, piece)
    return edge


async def path(connection: "asyncpg.Connection[Any]", spans: Sequence[Span]) -> list[bytes]:
    """Return the hashes of subtrees, from what is stored."""
    wanted = [pieces(span) for span in spans]
    found = iter(await _hashes(connection, [piece for each in wanted for piece in each]))
    return [subtree([next(found) for _ in each]) for each in wanted]


class Paths:
    """Inclusion proofs of many leaves of one tree; what neighbours share is read once."""

    def __init__(self, connection: "asyncpg.Connection[Any]", size: int) -> None:
        self._connection = connection
        self._size = size
        self._known: dict[Span, bytes] = {}

    async def of(self, index: int) -> list[bytes]:
        """Return the proof of the leaf numbered `index`."""
        spans = inclusion(index, self._size)
        if missing := [span for span in spans if span not in self._known]:
            if len(self._known) + len(missing) > _KNOWN:
                self._known.clear()
                missing = spans
            self._known.update(zip(missing, await path(self._connection, missing), strict=True))
        return [self._known[span] for span in spans]


async def _hashes(
    connection: "asyncpg.Connection[Any]", wanted: Sequence[tuple[int, int]]
) -> list[tuple[int, bytes]]:
    """Return the level and hash of each of some kept subtrees and leaves, in their order.

    Raises:
        NotSealed: one is not stored, so the tables are not what the sealer wrote.
    """
    nodes = [piece for piece in wanted if piece[0]]
    rows = await connection.fetch(_NODES, [level for level, _ in nodes], [number for _, number in nodes])
    stored = {(row["level"], row["number"]): row["hash"] for row in rows}
    for block in sorted({number >> STRIDE for level, number in wanted if not level}):
        first = block << STRIDE
        leaves = b"".join(
            row["hashes"] for row in await connection.fetch(_LEAVES, first, first + (1 << STRIDE))
        )
        for place in range(len(leaves) // HASH):
            stored[0, first + place] = leaves[HASH * place : HASH * (place + 1)]
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
# The limit, as many leaves as there can be, keeps the planner on the index by size.
_LEAVES = f"""
    SELECT substring(hashes FROM (greatest($1 - first, 0) * {HASH} + 1)::integer
        FOR ((least(size, $2) - greatest(first, $1)) * {HASH})::integer) AS hashes
    FROM (SELECT first, size, hashes FROM seals WHERE size > $1::bigint ORDER BY size LIMIT {1 << STRIDE}) seal
    WHERE first < $2::bigint ORDER BY size
"""  # noqa: S608 - constants
