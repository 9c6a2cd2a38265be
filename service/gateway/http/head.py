"""What the head of a request says; pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from httptools import parse_url
from starlette.datastructures import Headers

from service.gateway.transport.transport import Upgrade

Fields = list[tuple[bytes, bytes]]
"""Headers, with their names in lower case."""

_FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto")


def drop_forwarded(fields: Fields) -> None:
    """Drop the headers in which a proxy names the host and the scheme that the browser used."""
    if any(name in _FORWARDED for name, _ in fields):
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
