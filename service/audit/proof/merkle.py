"""The Merkle tree of RFC 9162, section 2.1, over SHA-256: appending, and which subtrees a proof consists of. Pure.

Leaves are numbered from 0. A growing tree is represented by its right edge (`Frontier`): appending a leaf takes O(1)
hashes, computing the root O(log n). A proof is a list of subtrees. This module names them by the leaves that they span;
`tree_store` reads their hashes. `service.audit.proof.offline` verifies proofs.

Invariant: leaves and inner nodes are hashed with different prefixes, so neither can pass for the other.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

EMPTY = sha256().digest()
"""The root of a tree without leaves."""

STRIDE = 8
"""Every eighth level above the leaves is stored: one hash per 255 leaves. A proof reads up to 255 hashes per level."""


class Node(NamedTuple):
    """A perfect subtree of 2**level leaves; `number` counts from the left within the level."""

    level: int
    number: int
    hash: bytes


class Span(NamedTuple):
    """The leaves from `start` to before `end`, which form a subtree."""

    start: int
    end: int


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a tree of `size` leaves: the hashes of its perfect subtrees, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def extend(self, leaves: Iterable[bytes]) -> list[Node]:
        """Append leaf hashes; return the completed subtrees of stored levels, ordered by their last leaf."""
        completed: list[Node] = []
        for leaf in leaves:
            self.push(0, leaf, completed)
        return completed

    def push(self, level: int, subtree: bytes, completed: list[Node] | None = None) -> None:
        """Append a perfect subtree of 2**level leaves; `size` must be a multiple of 2**level.

        Subtrees of stored levels that it completes are added to `completed`.
        """
        number = self.size >> level
        self.size += 1 << level
        while number & 1:
            subtree = node_hash(self._peaks.pop(), subtree)
            number >>= 1
            level += 1
            if completed is not None and level % STRIDE == 0:
                completed.append(Node(level, number, subtree))
        self._peaks.append(subtree)

    def root(self) -> bytes:
        """Return the tree's root."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = node_hash(peak, root)
        return root


def pieces(span: Span) -> list[tuple[int, int]]:
    """Return the stored subtrees (level, number) that make up a span, from the left; level 0 is a leaf."""
    found, at = [], span.start
    while at < span.end:
        level = 0
        while not at % (1 << level + STRIDE) and at + (1 << level + STRIDE) <= span.end:
            level += STRIDE
        found.append((level, at >> level))
        at += 1 << level
    return found


def subtree(hashes: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the hash of a span, given the level and hash of each of its `pieces`."""
    edge = Frontier()
    for level, piece in hashes:
        edge.push(level, piece)
    return edge.root()


def inclusion(index: int, size: int) -> list[Span]:
    """Return the subtrees that prove the leaf `index` in a tree of `size` leaves, lowest first.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start = middle
    return path[::-1]


def root_over(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of a tree of `size` leaves, given the hashes of `inclusion(index, size)` and the leaf `index`."""
    for span, other in zip(inclusion(index, size), path, strict=True):
        leaf = node_hash(leaf, other) if span.start > index else node_hash(other, leaf)
    return leaf


def roots_over(root: bytes, old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the roots of the trees of `old` and `new` leaves, given the hashes of `consistency(old, new)`.

    `root` is the root of the old tree. It is used only where the new tree has it as a subtree.
    """
    steps = list(zip(consistency(old, new), path, strict=True))
    first = steps.pop(0)[1] if steps and steps[0][0].end == old else root
    before = after = first
    for span, other in steps:
        if span.start >= old:
            after = node_hash(after, other)
        else:
            before, after = node_hash(other, before), node_hash(other, after)
    return before, after


def consistency(old: int, new: int) -> list[Span]:
    """Return the subtrees that prove that a tree of `new` leaves begins with a tree of `old` leaves.

    Raises:
        ValueError: the sizes violate 0 < old <= new.
    """
    if not 0 < old <= new:
        raise ValueError(f"no tree of {new} leaves begins with one of {old}")
    path, start, end = [], 0, new
    while old < end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start = middle
    if start:  # otherwise the span is the old tree itself, whose root the verifier has
        path.append(Span(start, end))
    return path[::-1]


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which must be above 1."""
    return 1 << (size - 1).bit_length() - 1
