"""How many handshakes a second may come from one address: a node's own, whoever they then say they are.

An address is where a connection counts as coming from, behind proxies as in front of them
(`service.gateway.transport.client_address`). Whoever has one address of IPv6 has a whole /64 of them, so that counts as
one. What is no address at all counts as one, too.

The rule: this is asked before anything that costs more: a token, the log, a place among those who have not said who
they are.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from service.errors import TooManyRequests
from service.runtime.token_bucket import TokenBuckets

PREFIX = 64
"""Bits of an address of IPv6 that tell one customer from another (RFC 6177)."""


class HandshakeLimit:
    """Counts handshakes by address: `per_second`, and `burst` at once; `clock` gives seconds."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._buckets = TokenBuckets(per_second, burst, clock)

    def take(self, address: str | None) -> None:
        """Count one.

        Raises:
            TooManyRequests: its address has none left just now.
        """
        if not self._buckets.on:
            return
        name = neighbourhood(address)
        left = self._buckets.left(name)
        if left < 1:
            raise TooManyRequests(retryAfter=self._buckets.wait(left))
        self._buckets.keep(name, left - 1)


def neighbourhood(address: str | None) -> str:
    """Return what an address counts as."""
    try:
        known = ip_address(address or "")
    except ValueError:
        return ""
    if not isinstance(known, IPv6Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(IPv6Network((int(known), PREFIX), strict=False))
