"""Unions of ranges of whole numbers, given as pairs with both ends included. Pure."""

from collections.abc import Iterable, Mapping, Sequence

MAX_GAPS = 1_000
"""Gaps between the ranges of one record, over all rooms, up to which it says exactly what was written."""


def union(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the union of ranges, ascending; adjacent ranges are merged."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def gaps(ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
    """Return the number of gaps between the ranges of each room."""
    return sum(len(in_room) - 1 for in_room in ranges.values() if in_room)
