"""Token buckets by name: a burst, then a rate per second.

The number of buckets is bounded: the least recently used is evicted first, and by then it is full again.
"""

from collections import OrderedDict
from collections.abc import Callable

from service.errors import TooManyRequests

MAX_BUCKETS = 100_000
"""The most buckets of one `TokenBuckets`."""


class TokenBuckets:
    """Buckets of `burst` tokens that fill by `per_second`; 0 in either turns them off. `clock` gives seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self.on = bool(per_second and burst)
        self.burst = float(burst)
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, name: str) -> float:
        """Return the tokens in a bucket; a negative number is a debt."""
        now = self._clock()
        left, since = self._buckets.get(name, (self.burst, now))
        return min(self.burst, left + (now - since) * self._per_second)

    def take(self, name: str, count: int = 1) -> str | None:
        """Take tokens, none if the buckets are off; return the name of the bucket that was evicted for it, if any.

        Raises:
            TooManyRequests: the bucket has fewer; `retryAfter` is the time in seconds until it has as many.
        """
        if not self.on:
            return None
        now = self._clock()
        left, since = self._buckets.get(name, (self.burst, now))
        left = min(self.burst, left + (now - since) * self._per_second)
        if left < count:
            raise TooManyRequests(retryAfter=round((count - left) / self._per_second, 3))
        return self._set(name, left - count, now)

    def give_back(self, name: str, count: int = 1) -> None:
        """Undo `take`."""
        if self.on:
            self.keep(name, self.left(name) + count)

    def keep(self, name: str, left: float) -> str | None:
        """Set the tokens in a bucket; return the name of the bucket that was evicted for it, if any."""
        return self._set(name, left, self._clock())

    def _set(self, name: str, left: float, now: float) -> str | None:
        self._buckets[name] = (left, now)
        self._buckets.move_to_end(name)
        return self._buckets.popitem(last=False)[0] if len(self._buckets) > MAX_BUCKETS else None

    def __len__(self) -> int:
        return len(self._buckets)


class LineLimit:
    """Limits log lines that clients can cause, in total and by key: a rate per second and a burst; 0 is no limit."""

    def __init__(
        self, clock: Callable[[], float], total: tuple[float, int], each: tuple[float, int] = (0, 0)
    ) -> None:
        self._total = TokenBuckets(*total, clock)
        self._each = TokenBuckets(*each, clock)
        self._withheld = 0

    def admit(self, key: str = "") -> int | None:
        """Return how many lines were withheld since the last one, None if this one is to be withheld."""
        try:
            self._each.take(key)
            self._total.take("")
        except TooManyRequests:
            self._withheld += 1
            return None
        withheld, self._withheld = self._withheld, 0
        return withheld
