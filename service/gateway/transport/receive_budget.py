"""Bounds the input that clients without an identity have sent and that is not handled yet.

Unfinished heads and bodies of HTTP requests, unfinished frames and messages of WebSockets, and messages that wait for
their handling count until the client is identified. Sizes are bytes of memory.

Invariant: all connections together hold at most `total`, and those of one address at most a `SHARE`-th of it. If the
total is reached, the address that holds most loses its largest connection, so that a newcomer has as much as each of
those who fill the budget. What one read of a socket adds is counted after it.
"""

import logging
from collections.abc import Callable

from service.gateway.transport.callbacks import nothing
from service.gateway.transport.client_address import ClientAddresses, address_key

SHARE = 8

PROXY_SHARE = 2
"""The same for a trusted proxy, before the head of a request names the client."""

LOG_EVERY = 10.0
"""Seconds between two log lines about closed connections."""

log = logging.getLogger("onrecord.transport")


class ReceiveBudget:
    """The budget of one node; `clock` gives seconds. For metrics: `held`, and `refused` connections."""

    def __init__(self, total: int, addresses: ClientAddresses, clock: Callable[[], float]) -> None:
        self.addresses = addresses
        self.total = total
        self.held = 0
        self.refused = 0
        self._clock = clock
        self._by_address: dict[str, _Address] = {}
        self._logged_at = float("-inf")
        self._logged = 0

    def account(self, peer: str | None, close: Callable[[], None]) -> "Account":
        """Return the account of a new connection; `close` is called if the connection loses what it holds."""
        return Account(self, peer, close)

    def change(self, account: "Account", more: int) -> None:
        """Count `more` bytes of an account, or fewer if negative."""
        if (address := self._by_address.get(account.key)) is None:
            address = self._by_address[account.key] = _Address()
        account.held += more
        address.held += more
        self.held += more
        if account.held:
            address.accounts[account] = None
        else:
            address.accounts.pop(account, None)
            if not address.accounts:
                del self._by_address[account.key]

    def make_room(self, account: "Account", more: int) -> bool:
        """Return whether an account may hold `more` bytes, if need be after heavier addresses have lost theirs."""
        address = self._by_address.get(account.key)
        wanted = (address.held if address else 0) + more
        if wanted > self.total // account.share:
            return False
        while self.held + more > self.total:
            heaviest = max(self._by_address.values(), key=lambda other: other.held)
            if heaviest.held <= wanted:
                return False
            self._evict(max(heaviest.accounts, key=lambda other: other.held))
        return True

    def refuse(self, key: str) -> None:
        """Count a connection that is closed since there is no room, and log some of them."""
        self.refused += 1
        if (now := self._clock()) - self._logged_at >= LOG_EVERY:
            since, self._logged, self._logged_at = self.refused - self._logged, self.refused, now
            log.warning(
                "unauthenticated_refused", extra={"address": key, "held": self.held, "refused": since}
            )

    def _evict(self, account: "Account") -> None:
        self.refuse(account.key)
        account.release()
        account.close()


class _Address:
    """What one address holds, and its accounts that hold something."""

    __slots__ = ("accounts", "held")

    def __init__(self) -> None:
        self.held = 0
        self.accounts: dict[Account, None] = {}


class Account:
    """What one connection holds; nothing is counted while its client is `identified`."""

    __slots__ = ("_budget", "_identified", "_peer", "close", "head", "held", "key", "share")

    def __init__(self, budget: ReceiveBudget, peer: str | None, close: Callable[[], None]) -> None:
        self.close = close
        self.held = 0
        self.head = 0
        """Bytes of the head of the upgrade, which the connection keeps."""
        self.key = address_key(peer)
        self.share = PROXY_SHARE if budget.addresses.trusts(peer) else SHARE
        self._budget = budget
        self._peer = peer
        self._identified = False

    @property
    def identified(self) -> bool:
        """Whether the client has proved who it is."""
        return self._identified

    @identified.setter
    def identified(self, identified: bool) -> None:
        self._identified = identified
        if identified:
            self.release()

    def hold(self, size: int) -> bool:
        """Set the bytes that are held besides the head; return False, and change nothing, if there is no room."""
        if self._identified:
            return True
        more = self.head + size - self.held
        if more > 0 and not self._budget.make_room(self, more):
            self._budget.refuse(self.key)
            return False
        if more:
            self._budget.change(self, more)
        return True

    def release(self) -> None:
        """Hold nothing."""
        if self.held:
            self._budget.change(self, -self.held)

    def end(self) -> None:
        """Hold nothing, and forget the connection, which is lost."""
        self.release()
        self.close = nothing  # a reference cycle otherwise

    def is_from(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Count for the client that a trusted proxy names in the head of a request, and release what was held."""
        if self._budget.addresses.trusts(self._peer):
            self.release()
            self.key = address_key(self._budget.addresses.of(self._peer, headers))
            self.share = SHARE
