"""Charges commands and HTTP requests to their user, over all nodes, and to their address, at this node.

Invariant: a refused charge takes nothing from either.
"""

from service.errors import TooManyRequests
from service.gateway.auth.rate_limit import RateLimit
from service.runtime.token_bucket import TokenBuckets


class Charges:
    """The buckets of users and of addresses. A price above a whole burst costs a whole burst."""

    def __init__(self, users: RateLimit, addresses: TokenBuckets) -> None:
        self._users = users
        self._addresses = addresses

    def take(self, user: str, address: str, price: int = 1) -> None:
        """Charge a price; `address` is a key of `service.gateway.transport.client_address.address_key`.

        Raises:
            TooManyRequests: the user or the address has fewer units left.
        """
        charged = self._users.charge(user, price)
        try:
            self._addresses.take(address, min(price, int(self._addresses.burst)))
        except TooManyRequests:
            self._users.give_back(user, charged)
            raise

    def give_back(self, user: str, address: str) -> None:
        """Undo `take` of a price of 1, for a command that is charged again."""
        self._users.give_back(user, 1)
        self._addresses.give_back(address)

    def owe(self, user: str, price: int) -> None:
        """Charge a price that was not known before; the debt is at most a burst."""
        if price:
            self._users.owe(user, price)
