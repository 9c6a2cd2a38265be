"""The client's address of a request: from a trusted proxy (`X-Forwarded-For`), else the peer's.

The rule is that of uvicorn's `ProxyHeadersMiddleware`, which requests over ASGI pass through. It accepts any text of a
trusted proxy as an address; `real` returns None for a text that is none.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.gateway.transport.transport import Upgrade


class Addresses:
    """Finds addresses; the proxies in `trusted`, addresses and networks, are believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._believing = ProxyHeadersMiddleware(_nothing, list(trusted)) if trusted else None

    async def of(self, upgrade: Upgrade) -> str | None:
        """Return the client's address of an upgrade request."""
        if self._believing is None or upgrade.address is None:
            return real(upgrade.address)
        scope: Any = {"type": "websocket", "client": (upgrade.address, 0), "headers": upgrade.headers.raw}
        await self._believing(scope, _nothing, _nothing)  # type: ignore[arg-type] # nothing is received or sent
        return real(scope["client"][0])


def real(address: str | None) -> str | None:
    """Return an address in its canonical form for the record; None if the text is no address."""
    try:
        return None if address is None else str(ip_address(address))
    except ValueError:
        return None


async def _nothing(*_: Any) -> None:
    pass
