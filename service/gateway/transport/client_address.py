"""Determines the address of a client: `X-Forwarded-For` if a trusted proxy sent the request, else the peer's address.

Upgrades use uvicorn's `ProxyHeadersMiddleware`, as requests over ASGI do. It takes any text from a trusted proxy;
`canonical_address` returns None for text that is not an address.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.gateway.transport.transport import Upgrade


class ClientAddresses:
    """Determines client addresses; `trusted` holds the addresses and networks of trusted proxies."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._middleware = ProxyHeadersMiddleware(_nothing, list(trusted)) if trusted else None

    async def of(self, upgrade: Upgrade) -> str | None:
        """Return the address of the client that sent an upgrade request; None if it is unknown."""
        if self._middleware is None or upgrade.address is None:
            return canonical_address(upgrade.address)
        scope: Any = {"type": "websocket", "client": (upgrade.address, 0), "headers": upgrade.headers.raw}
        await self._middleware(scope, _nothing, _nothing)  # type: ignore[arg-type] # nothing is received or sent
        return canonical_address(scope["client"][0])


def canonical_address(address: str | None) -> str | None:
    """Return the canonical form of an address; None if the text is not an address."""
    try:
        return None if address is None else str(ip_address(address))
    except ValueError:
        return None


async def _nothing(*_: Any) -> None:
    pass
