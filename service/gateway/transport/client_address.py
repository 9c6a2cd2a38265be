"""Finds the client's address of a request: `X-Forwarded-For` of a trusted proxy, else the peer's address.

Uvicorn's `ProxyHeadersMiddleware` decides, as for requests over ASGI. It accepts any text of a trusted proxy as an
address; `real` returns None for text that is not an address.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.gateway.transport.transport import Upgrade


class Addresses:
    """Finds client addresses; `trusted` holds the addresses and networks of trusted proxies."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._middleware = ProxyHeadersMiddleware(_nothing, list(trusted)) if trusted else None

    async def of(self, upgrade: Upgrade) -> str | None:
        """Return the client's address of an upgrade request."""
        if self._middleware is None or upgrade.address is None:
            return real(upgrade.address)
        scope: Any = {"type": "websocket", "client": (upgrade.address, 0), "headers": upgrade.headers.raw}
        await self._middleware(scope, _nothing, _nothing)  # type: ignore[arg-type] # nothing is received or sent
        return real(scope["client"][0])


def real(address: str | None) -> str | None:
    """Return the canonical form of an address; None if the text is not an address."""
    try:
        return None if address is None else str(ip_address(address))
    except ValueError:
        return None


async def _nothing(*_: Any) -> None:
    pass
