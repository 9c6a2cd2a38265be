"""Histograms that components update while they work, and that a scrape reads.

An observation costs two additions: no lock, no lookup by name, no library. `service.observability.catalogue` has their
names.
"""

from bisect import bisect_left

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of durations."""

SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""Bounds of batch sizes."""


class Histogram:
    """Counts the values between neighbouring bounds, and sums all values."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; one that equals a bound counts in the bucket below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
