"""The stored tree: its newest checkpoint, the place of an event in it, and the hashes that a proof is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from service.audit.checkpoint import Checkpoint
from service.audit.merkle import EMPTY, Frontier, Span, pieces, subtree
from service.audit.notes import opened
from service.audit.seal_keys import SealKey

if TYPE_CHECKING:
    import asyncpg

HASH = len(EMPTY)


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
    if note is None:
        return None
    return Sealed(Checkpoint.parse(opened(note, [key.verifier for key in keys])), note)


async def index_of(connection: "asyncpg.Connection[Any]", position: int) -> int:
    """Return the number of the leaf of the event at a position.

    Raises:
        NotSealed: it has none.
    """
    index = await connection.fetchval(_INDEX, position)
    if index is None:
        raise NotSealed(
            f"The event at position {position} is not sealed yet; is `onrecord project run` running?"
        )
    return int(index)


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
    leaves = [number for level, number in wanted if not level]
    stored |= {(0, row["number"]): row["hash"] for row in await connection.fetch(_LEAVES, leaves)}
    if missing := [piece for piece in wanted if piece not in stored]:
        raise NotSealed(
            f"The seals lack subtree {missing[0][1]} of level {missing[0][0]}: run `onrecord audit verify`."
        )
    return [(piece[0], stored[piece]) for piece in wanted]


_INDEX = """
    SELECT first + array_position(positions, $1) - 1 FROM (
        SELECT first, positions FROM seals WHERE positions[array_upper(positions, 1)] >= $1
        ORDER BY positions[array_upper(positions, 1)] LIMIT 1) seal
"""
_NODES = """
    SELECT n.level, n.number, n.hash
    FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, number) JOIN seal_nodes n USING (level, number)
"""
_LEAVES = f"""
    SELECT wanted.number,
        substring(seal.hashes FROM (wanted.number - seal.first)::integer * {HASH} + 1 FOR {HASH}) AS hash
    FROM unnest($1::bigint[]) AS wanted (number)
    CROSS JOIN LATERAL (
        SELECT first, hashes FROM seals WHERE size > wanted.number ORDER BY size LIMIT 1) seal
"""  # noqa: S608 - constants
