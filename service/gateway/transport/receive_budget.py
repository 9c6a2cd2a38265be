"""Bounds the bytes that connections without an identity have sent and that are not handled yet.

Unfinished heads and bodies of HTTP requests, unfinished frames and messages of WebSockets, and messages that wait for
their handling count until the client has said who it is.

Invariant: all of them together hold at most `total` bytes, and those of one address at most a `SHARE`-th of it. An
address holds at most as much as is free besides (a dynamic threshold, as in the shared buffers of switches), so that
however many addresses fill the budget, a newcomer still has as much as each of them. What one read of a socket adds
is counted after it.
"""

import logging
from collections.abc import Callable

from service.gateway.transport.client_address import ClientAddresses, address_key

SHARE = 8

LOG_EVERY = 10.0
"""Seconds between two log lines about refusals."""

log = logging.getLogger("onrecord.transport")


class ReceiveBudget:
    """The bytes of one node; `clock` gives seconds. For metrics: `held`, and `refused` connections."""

    def __init__(self, total: int, addresses: ClientAddresses, clock: Callable[[], float]) -> None:
        self.addresses = addresses
        self.held = 0
        self.refused = 0
        self._total = total
        self._clock = clock
        self._by_address: dict[str, int] = {}
        self._logged_at = float("-inf")
        self._logged = 0

    def account(self, peer: str | None) -> "Account":
        """Return the account of a new connection."""
        return Account(self, peer)

    def has_room(self, key: str | None, more: int) -> bool:
        """Return whether an address may hold `more` bytes; `key` is None for a trusted proxy, which has no share."""
        free = self._total - self.held
        if key is None:
            return more <= free // 2
        return self._by_address.get(key, 0) + more <= min(free, self._total // SHARE)

    def add(self, key: str | None, more: int) -> None:
        """Count `more` bytes, or fewer if negative."""
        self.held += more
        if key is None:
            return
        left = self._by_address.get(key, 0) + more
        if left:
            self._by_address[key] = left
        else:
            self._by_address.pop(key, None)

    def refuse(self, key: str | None) -> None:
        """Count a connection that is closed since there is no room, and log some of them."""
        self.refused += 1
        if (now := self._clock()) - self._logged_at >= LOG_EVERY:
            since, self._logged, self._logged_at = self.refused - self._logged, self.refused, now
            log.warning(
                "unauthenticated_refused", extra={"address": key, "held": self.held, "refused": since}
            )


class Account:
    """What one connection holds; nothing is counted while its client is `identified`."""

    __slots__ = ("_budget", "_identified", "_key", "head", "held", "peer")

    def __init__(self, budget: ReceiveBudget, peer: str | None) -> None:
        self.held = 0
        self.head = 0
        """Bytes of the head of the upgrade, which the connection keeps."""
        self.peer = peer
        self._identified = False
        self._budget = budget
        self._key = None if budget.addresses.trusts(peer) else address_key(peer)

    @property
    def identified(self) -> bool:
        """Whether the client has said who it is."""
        return self._identified

    @identified.setter
    def identified(self, identified: bool) -> None:
        self._identified = identified
        if identified:
            self.release()

    def hold(self, size: int) -> bool:
        """Set the bytes that are held besides the head; return False, and change nothing, where there is no room."""
        if self._identified:
            return True
        more = self.head + size - self.held
        if more > 0 and not self._budget.has_room(self._key, more):
            self._budget.refuse(self._key)
            return False
        self._budget.add(self._key, more)
        self.held += more
        return True

    def release(self) -> None:
        """Hold nothing."""
        self._budget.add(self._key, -self.held)
        self.held = 0

    def is_from(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Count for the client that a trusted proxy names in the head of a request, and release what was held."""
        if self._budget.addresses.trusts(self.peer):
            self.release()
            self._key = address_key(self._budget.addresses.of(self.peer, headers))
