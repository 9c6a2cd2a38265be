"""How much one user may do: commands a second, and connections at once. Pure but for the clock it is given."""

from collections import OrderedDict
from collections.abc import Callable

from service.errors import TooManyRequests

MAX_BUCKETS = 100_000
"""Users remembered; the least recently active goes first, and by then its bucket is full again."""


class Rate:
    """A token bucket per user over all of their connections: `per_second` commands, `burst` at once.

    0 in either switches it off. `clock` gives seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, user: str) -> None:
        """Count one command.

        Raises:
            TooManyRequests: the user has none left just now.
        """
        if not self._burst or not self._per_second:
            return
        now = self._clock()
        left, since = self._buckets.get(user, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._per_second)
        if left < 1:
            raise TooManyRequests(retryAfter=round((1 - left) / self._per_second, 3))
        self._buckets[user] = (left - 1, now)
        self._buckets.move_to_end(user)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
