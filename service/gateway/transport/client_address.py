"""Determines the address of a client: `X-Forwarded-For` if a trusted proxy sent the request, else the peer's address.

Upgrades use uvicorn's `ProxyHeadersMiddleware`, as requests over ASGI do. It takes any text from a trusted proxy;
`canonical_address` returns None for text that is not an address.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX = 64
"""Bits of an IPv6 address that identify one customer (RFC 6177)."""

LONGEST, MOST_KEPT = 64, 4_096
"""Characters of an address that is kept once it is parsed, and their number: a connection asks five times."""


class ClientAddresses:
    """Determines client addresses; `trusted` holds the addresses and networks of trusted proxies."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = ProxyHeadersMiddleware(_nothing, list(trusted)).trusted_hosts if trusted else None

    def of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the client's address of a request with these headers, whose names are in lower case."""
        if self._trusted is None or peer is None or peer not in self._trusted:
            return canonical_address(peer)
        forwarded = b", ".join(value for name, value in headers if name == b"x-forwarded-for")
        if not forwarded:
            return canonical_address(peer)
        return canonical_address(
            self._trusted.get_trusted_client_address(forwarded.decode("latin-1"))[0] or peer
        )

    def trusts(self, peer: str | None) -> bool:
        """Return whether a peer is a trusted proxy."""
        return self._trusted is not None and peer in self._trusted


def canonical_address(address: str | None) -> str | None:
    """Return the canonical form of an address; None if the text is not an address."""
    return _read(address or "")[0]


def address_key(address: str | None) -> str:
    """Return the key under which an address is counted: a customer with IPv6 has a whole /64."""
    return _read(address or "")[1]


def _read(address: str) -> tuple[str | None, str]:
    """Return the canonical form and the key of an address; a longer text than an address has is not kept."""
    return _kept(address) if len(address) <= LONGEST else _parsed(address)


def _parsed(address: str) -> tuple[str | None, str]:
    try:
        known = ip_address(address)
    except ValueError:
        return None, ""
    if not isinstance(known, IPv6Address):
        return str(known), str(known)
    if known.ipv4_mapped is not None:
        return str(known), str(known.ipv4_mapped)
    return str(known), str(IPv6Network((int(known), PREFIX), strict=False))


_kept = lru_cache(MOST_KEPT)(_parsed)


async def _nothing(*_: Any) -> None:
    pass
