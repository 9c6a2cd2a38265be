"""The opening handshake (RFC 6455, section 4.2): checks requests that have `Upgrade: websocket`, and builds responses.

Pure. `TimedHttpProtocol` reads the requests.
"""

import email.utils
import re
import time
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha1
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from service.gateway.transport.problem import refusal
from service.gateway.transport.transport import Refused

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_VERSION = b"13"
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


def check(method: str, http_version: str, headers: Headers) -> Refused | None:
    """Return the refusal of a request that is no valid handshake, or None."""
    if method != "GET":
        return _refusal(405, "A WebSocket begins with GET.", {"Allow": "GET"})
    if http_version != "1.1":
        return _refusal(505, "A WebSocket begins with HTTP/1.1.")
    if _all(headers, b"sec-websocket-version") != [_VERSION]:
        return _refusal(
            426, "This server speaks version 13.", {"Sec-WebSocket-Version": _VERSION.decode("ascii")}
        )
    keys = _all(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return _refusal(400, "Sec-WebSocket-Key has to be 16 bytes in base64, once.")
    return None


def accepted(headers: Headers, more: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the response that accepts a checked request, with the headers `more`."""
    # The hash proves that a WebSocket server answers; it has no security purpose.
    digest = sha1(_all(headers, b"sec-websocket-key")[0] + _GUID, usedforsecurity=False).digest()
    rest = "".join(f"{name}: {value}\r\n" for name, value in more).encode("latin-1")
    return _ACCEPTED + b2a_base64(digest, newline=False) + b"\r\n" + rest + b"\r\n"


def refused(answer: Refused) -> bytes:
    """Return the response that refuses a handshake; the connection closes after it."""
    present = {name.lower() for name in answer.headers}
    defaults = {
        "Date": _date(int(time.time())),
        "Connection": "close",
        "Content-Length": str(len(answer.body)),
        "X-Content-Type-Options": "nosniff",
    }
    fields = [(name, value) for name, value in defaults.items() if name.lower() not in present]
    return _head(HTTPStatus(answer.status), [*fields, *answer.headers.items()]) + answer.body


def _refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Refused:
    return refusal(HTTPException(status, sentence, headers))


def _all(headers: Headers, name: bytes) -> list[bytes]:
    return [value for known, value in headers.raw if known == name]


@lru_cache(1)
def _date(seconds: int) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


def _head(status: HTTPStatus, fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
