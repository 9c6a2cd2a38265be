"""The heads of requests and of refusals; pure."""

from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url
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


class _Head:
    """The URL and the headers of a request, as `HttpRequestParser` reports them."""

    __slots__ = ("fields", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: Fields = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))


def read_upgrade(data: bytes, peer: str | None, began: float, *, trusted: bool) -> Upgrade | None:
    """Return the request for a WebSocket that is all of `data`; None if `data` is anything else.

    Its first byte was received at the time `began` of the loop, from a peer that is a `trusted` proxy or not.
    """
    if not data.endswith(b"\r\n\r\n") or b"pgrade" not in data:
        return None
    head = _Head()
    parser = HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except HttpParserUpgrade as upgrade:
        if upgrade.args[0] == len(data) and _is_for_websocket(head.fields):
            drop_forwarded(head.fields, trusted=trusted)
            method = parser.get_method().decode("ascii")
            return upgrade_of(head.fields, head.url, method, parser.get_http_version(), peer, began)
    except HttpParserError:
        pass  # `TimedHttpProtocol` answers it
    return None


def _is_for_websocket(fields: Fields) -> bool:
    """Return what uvicorn's `_should_upgrade` does; False for a request that declares a body."""
    named = dict(fields)
    tokens = [token.strip() for token in named.get(b"connection", b"").lower().split(b",")]
    is_upgrade = b"upgrade" in tokens and named.get(b"upgrade", b"").lower() == b"websocket"
    return is_upgrade and not named.keys() & {b"content-length", b"transfer-encoding"}


def upgrade_of(
    fields: Fields, url: bytes, method: str, http_version: str, peer: str | None, began: float
) -> Upgrade:
    """Return the request for a WebSocket; its first byte was received at the time `began` of the loop."""
    parsed = parse_url(url)
    path = unquote((parsed.path or b"/").decode("ascii"))
    return Upgrade(Headers(raw=fields), peer, path, method, http_version, began, parsed.query or b"")
