"""Limits the rate of handshakes per client address on each node, before authentication.

The address is that of the client, also behind trusted proxies (`service.gateway.transport.client_address`). A customer
with IPv6 has a whole /64, so a /64 counts as one address. Clients without a valid address share one count.

Invariant: the limit is checked before anything that costs more: the token, the log, or a place among the
unauthenticated connections.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from service.runtime.token_bucket import TokenBuckets

PREFIX = 64
"""Bits of an IPv6 address that identify one customer (RFC 6177)."""


class HandshakeLimit:
    """Counts handshakes by address: `per_second`, and `burst` at once; `clock` gives seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._buckets = TokenBuckets(per_second, burst, clock)

    def take(self, address: str | None) -> None:
        """Count one handshake.

        Raises:
            TooManyRequests: the address has no handshakes left.
        """
        if self._buckets.on:
            self._buckets.take(address_key(address))


def address_key(address: str | None) -> str:
    """Return the key under which an address is counted."""
    try:
        known = ip_address(address or "")
    except ValueError:
        return ""
    if not isinstance(known, IPv6Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(IPv6Network((int(known), PREFIX), strict=False))
