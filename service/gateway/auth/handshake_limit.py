"""Limits the rate of handshakes per client address, before authentication, on each node.

The address is that of the client, also behind trusted proxies (`service.gateway.transport.client_address`). A customer
with IPv6 has a whole /64, so a /64 counts as one address. Clients without a valid address share one count.

Invariant: the limit is checked before anything that costs more: the token, the log, or a place among the
unauthenticated connections.
"""

from collections.abc import Callable

from service.gateway.transport.client_address import address_key
from service.runtime.token_bucket import TokenBuckets


class HandshakeLimit:
    """Counts handshakes by address: `per_second`, and `burst` at once; `clock` gives seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._buckets = TokenBuckets(per_second, burst, clock)

    def take(self, address: str | None) -> None:
        """Count one handshake.

        Raises:
            TooManyRequests: the address has no handshakes left.
        """
        self._buckets.take(address_key(address))
