"""The ranges of seqs that were written to one session in each room; for the record of the session. Pure.

Invariant: every seq that was added is in a range. A room has seqs in its ranges that were not added only if it is in
`at_least`: ranges are merged for a client that reads so many disjoint pages that there are more than `MAX_GAPS` gaps.
"""

from bisect import bisect_left
from itertools import pairwise

from service.runtime.ranges import MAX_GAPS

MAX_ROOMS = 1_000
"""Rooms of one session's record; the session ends after one more, and the client connects again."""


class DeliveredRanges:
    """A union of ranges per room."""

    def __init__(self) -> None:
        self._rooms: dict[str, list[tuple[int, int]]] = {}
        self._at_least: dict[str, int] = {}
        self._gaps = 0

    def add(self, room: str, first: int, last: int) -> None:
        """Add a range, both ends included; adjacent ranges are merged."""
        known = self._rooms.get(room)
        if known is None:
            self._rooms[room] = [(first, last)]
            return
        begin = bisect_left(known, first - 1, key=lambda delivered: delivered[1])
        end = begin
        while end < len(known) and known[end][0] <= last + 1:
            end += 1
        joined = known[begin:end]
        if joined:
            first, last = min(first, joined[0][0]), max(last, joined[-1][1])
        known[begin:end] = [(first, last)]
        if room in self._at_least:
            self._at_least[room] += last - first + 1 - _size(joined)
        self._gaps += 1 - len(joined)
        if self._gaps > MAX_GAPS:
            self._merge()

    @property
    def full(self) -> bool:
        """Whether there are more rooms than a record may have."""
        return len(self._rooms) > MAX_ROOMS

    def ranges(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Return the ranges by room, ascending."""
        return {room: tuple(ranges) for room, ranges in sorted(self._rooms.items())}

    def at_least(self) -> dict[str, int]:
        """Return the rooms whose ranges were merged over gaps, and how many seqs of each were certainly added."""
        return dict(sorted(self._at_least.items()))

    def _merge(self) -> None:
        """Close the smaller half of the gaps of the room that has the most."""
        room, ranges = max(self._rooms.items(), key=lambda entry: len(entry[1]))
        self._at_least.setdefault(room, _size(ranges))
        limit = sorted(after[0] - before[1] for before, after in pairwise(ranges))[(len(ranges) - 2) // 2]
        merged = ranges[:1]
        for first, last in ranges[1:]:
            if first - merged[-1][1] <= limit:
                merged[-1] = (merged[-1][0], last)
            else:
                merged.append((first, last))
        self._gaps -= len(ranges) - len(merged)
        self._rooms[room] = merged


def _size(ranges: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)
