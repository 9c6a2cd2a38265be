"""Whose address a request counts as coming from: what a trusted proxy says (`X-Forwarded-For`), else the peer's.

The rule is uvicorn's own, which the requests that go through ASGI keep, too: `ProxyHeadersMiddleware`. It takes
whatever a trusted proxy says for an address; what is none is nobody's (`real`).
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.gateway.transport.transport import Upgrade


class Addresses:
    """Tells addresses where the proxies in `trusted`, addresses and networks, are believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._believing = ProxyHeadersMiddleware(_nothing, list(trusted)) if trusted else None

    async def of(self, upgrade: Upgrade) -> str | None:
        """Return the address of whoever asks for an upgrade."""
        if self._believing is None or upgrade.address is None:
            return real(upgrade.address)
        scope: Any = {"type": "websocket", "client": (upgrade.address, 0), "headers": upgrade.headers.raw}
        await self._believing(scope, _nothing, _nothing)  # type: ignore[arg-type] # nothing is received or sent
        return real(scope["client"][0])


def real(address: str | None) -> str | None:
    """Return an address, in the one way in which it is written for the record; None for what is none."""
    try:
        return None if address is None else str(ip_address(address))
    except ValueError:
        return None


async def _nothing(*_: Any) -> None:
    pass
