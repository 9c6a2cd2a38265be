"""The heads of requests and of refusals; pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from httptools import parse_url
from starlette.datastructures import Headers

from service.gateway.transport.transport import Upgrade

Fields = list[tuple[bytes, bytes]]
"""Headers, with their names in lower case."""

REFUSAL = (
    b"HTTP/1.1 %s\r\ncontent-length: 0\r\nx-content-type-options: nosniff\r\n%sconnection: close\r\n\r\n"
)
"""A response without a body that ends its connection: the status, and complete header lines."""

_FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto")


def drop_forwarded(fields: Fields, *, trusted: bool) -> None:
    """Drop the host and the scheme that the browser used, as a proxy names them, unless the proxy is trusted."""
    if not trusted and any(name in _FORWARDED for name, _ in fields):
        fields[:] = [field for field in fields if field[0] not in _FORWARDED]


def declared_length(fields: Fields) -> int:
    """Return the length in bytes that a request says its body has."""
    return max((int(value) for name, value in fields if name == b"content-length"), default=0)


def upgrade_of(
    fields: Fields, url: bytes, scope: Mapping[str, Any], peer: str | None, began: float
) -> Upgrade:
    """Return the request for a WebSocket; its first byte was received at the time `began` of the loop."""
    parsed = parse_url(url)
    return Upgrade(
        Headers(raw=fields),
        peer,
        unquote((parsed.path or b"/").decode("ascii")),
        scope["method"],
        scope["http_version"],
        began,
        parsed.query or b"",
    )
