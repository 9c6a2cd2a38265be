"""The ranges of seqs that were written to one session in each room; for the record of the session. Pure."""

from bisect import bisect_left

MAX_RANGES = 10_000
"""Ranges that are kept; a client that leaves and returns more often has unknown ranges."""


class DeliveredRanges:
    """A union of ranges per room."""

    def __init__(self) -> None:
        self._rooms: dict[str, list[tuple[int, int]]] = {}
        self._count = 0

    def add(self, room: str, first: int, last: int) -> None:
        """Add a range, both ends included; adjacent ranges are merged."""
        if self._count > MAX_RANGES:
            return
        known = self._rooms.setdefault(room, [])
        begin = bisect_left(known, first - 1, key=lambda delivered: delivered[1])
        end = begin
        while end < len(known) and known[end][0] <= last + 1:
            first, last = min(first, known[end][0]), max(last, known[end][1])
            end += 1
        self._count += 1 - (end - begin)
        known[begin:end] = [(first, last)]
        if self._count > MAX_RANGES:
            self._rooms.clear()

    def ranges(self) -> dict[str, tuple[tuple[int, int], ...]] | None:
        """Return the ranges by room, ascending; None if there were too many to keep."""
        if self._count > MAX_RANGES:
            return None
        return {room: tuple(ranges) for room, ranges in sorted(self._rooms.items())}
