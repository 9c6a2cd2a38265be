"""Token buckets by name: so many at once, and then so many a second.

The rule: the number of buckets is bounded. The one that was used longest ago goes first, and by then it is full again.
"""

from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 100_000
"""Buckets of one kind."""


class TokenBuckets:
    """Buckets of `burst` that fill by `per_second`; 0 in either switches them off. `clock` gives seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self.on = bool(per_second and burst)
        self.burst = float(burst)
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, name: str) -> float:
        """Return what is in a bucket; less than nothing is a debt."""
        now = self._clock()
        left, since = self._buckets.get(name, (self.burst, now))
        return min(self.burst, left + (now - since) * self._per_second)

    def wait(self, left: float) -> float:
        """Return after how many seconds one can be taken from a bucket that has less."""
        return round((1 - left) / self._per_second, 3)

    def keep(self, name: str, left: float) -> str | None:
        """Note what is in a bucket now, and return the name of the one that was forgotten for it."""
        self._buckets[name] = (left, self._clock())
        self._buckets.move_to_end(name)
        return self._buckets.popitem(last=False)[0] if len(self._buckets) > MAX_BUCKETS else None

    def __len__(self) -> int:
        return len(self._buckets)
