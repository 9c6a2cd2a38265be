"""Limits the rate of commands per user, over all connections and nodes.

Each node keeps a token bucket per user. A few times a second it publishes how many tokens it took, and every other node
takes as many from its own bucket. While nodes cannot reach each other, each enforces the limit alone.

Invariant: no command waits for another node. Until the next publication a user may use a burst at each node; the excess
is a debt that is paid off before later commands are admitted.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from service.cluster.relay import Relay
from service.runtime.token_bucket import TokenBuckets

SPENT = "limits.spent"
"""The kind of the message between nodes about commands."""

ADDED = "limits.added"
"""The kind of the message between nodes about people added to rooms or invited."""

LOGGED = "limits.logged"
"""The kind of the message between nodes about bytes that users appended to the log."""

PUBLISH_EVERY = 0.2
"""Seconds between two publications."""

MAX_PUBLISHED = 5_000
"""Users in one publication; the others follow in the next."""


class RateLimit:
    """A token bucket per user: `per_second` commands or additions, `burst` at once; 0 in either turns the limit off.

    `clock` gives seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._buckets = TokenBuckets(per_second, burst, clock)
        self._spent: dict[str, int] = {}

    def take(self, user: str, count: int = 1) -> None:
        """Count commands.

        Raises:
            TooManyRequests: the user has fewer left.
        """
        if not self._buckets.on:
            return
        if (evicted := self._buckets.take(user, count)) is not None:
            self._forget(evicted)
        self._spent[user] = self._spent.get(user, 0) + count

    def charge(self, user: str, price: int) -> int:
        """Take a price, at most a burst; return what was taken.

        Raises:
            TooManyRequests: the user has less left.
        """
        charged = min(price, int(self._buckets.burst))
        self.take(user, charged)
        return charged

    def owe(self, user: str, price: int) -> None:
        """Take a price that the user may not have; the debt is at most a burst."""
        if self._buckets.on:
            self.spent_elsewhere(user, price)
            self._spent[user] = self._spent.get(user, 0) + price

    def give_back(self, user: str, count: int) -> None:
        """Undo `take` for a command that changed nothing."""
        if self._buckets.on and count:
            self._forget(self._buckets.keep(user, self._buckets.left(user) + count))
            self._spent[user] = self._spent.get(user, 0) - count

    def spent_elsewhere(self, user: str, count: int) -> None:
        """Charge the commands that a user sent to another node; the debt is at most a burst."""
        if self._buckets.on:
            left = max(self._buckets.left(user) - count, -self._buckets.burst)  # a negative count gives back
            self._forget(self._buckets.keep(user, left))

    def take_spent(self, most: int) -> dict[str, int]:
        """Return and clear the numbers of commands that users sent to this node, of at most `most` users."""
        users = list(self._spent)[:most]
        return {user: self._spent.pop(user) for user in users}

    def _forget(self, evicted: str | None) -> None:
        if evicted is not None:
            self._spent.pop(evicted, None)


class Shared(Protocol):
    """What users spend, as nodes exchange it."""

    def take_spent(self, most: int) -> dict[str, int]:
        """See `RateLimit`."""

    def spent_elsewhere(self, user: str, count: int) -> None:
        """See `RateLimit`."""


class SharedRateLimit:
    """Publishes what users spend on this node, in messages of a `kind`, and charges what they spend on others."""

    def __init__(self, rate: Shared, relay: Relay, kind: str = SPENT) -> None:
        self._rate = rate
        self._relay = relay
        self.kind = kind
        self._decoder = msgspec.msgpack.Decoder(dict[str, int])

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await asyncio.sleep(PUBLISH_EVERY)
            if spent := self._rate.take_spent(MAX_PUBLISHED):
                self._relay.publish(self.kind, msgspec.msgpack.encode(spent))

    def spent_elsewhere(self, payload: bytes) -> None:
        """Charge what other nodes report."""
        for user, count in self._decoder.decode(payload).items():
            self._rate.spent_elsewhere(user, count)
