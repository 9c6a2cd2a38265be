"""The opening handshake (RFC 6455, section 4.2): checks requests that have `Upgrade: websocket`, and builds responses.

Pure. `TimedHttpProtocol` reads the requests.
"""

import base64
import binascii
import email.utils
from collections.abc import Iterable, Mapping
from hashlib import sha1
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from service.gateway.transport.problem import refusal
from service.gateway.transport.transport import Refused

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_SIZE = 16
_VERSION = "13"


def check(method: str, http_version: str, headers: Headers) -> Refused | None:
    """Return the refusal of a request that is no valid handshake, or None."""
    if method != "GET":
        return _refusal(405, "A WebSocket begins with GET.", {"Allow": "GET"})
    if http_version != "1.1":
        return _refusal(505, "A WebSocket begins with HTTP/1.1.")
    if headers.getlist("sec-websocket-version") != [_VERSION]:
        return _refusal(426, "This server speaks version 13.", {"Sec-WebSocket-Version": _VERSION})
    keys = headers.getlist("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return _refusal(400, "Sec-WebSocket-Key has to be 16 bytes in base64, once.")
    return None


def accepted(headers: Headers, more: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the response that accepts a checked request, with the headers `more`."""
    # The hash proves that a WebSocket server answers; it has no security purpose.
    digest = sha1((headers["sec-websocket-key"] + _GUID).encode(), usedforsecurity=False).digest()
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
        *more,
    ]
    return _head(HTTPStatus.SWITCHING_PROTOCOLS, fields)


def refused(answer: Refused) -> bytes:
    """Return the response that refuses a handshake; the connection closes after it."""
    present = {name.lower() for name in answer.headers}
    defaults = {
        "Date": email.utils.formatdate(usegmt=True),
        "Connection": "close",
        "Content-Length": str(len(answer.body)),
        "X-Content-Type-Options": "nosniff",
    }
    fields = [(name, value) for name, value in defaults.items() if name.lower() not in present]
    return _head(HTTPStatus(answer.status), [*fields, *answer.headers.items()]) + answer.body


def _refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Refused:
    return refusal(HTTPException(status, sentence, headers))


def _is_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_SIZE
    except (binascii.Error, ValueError):
        return False


def _head(status: HTTPStatus, fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
