"""Redacts secrets in log fields by the places that hold them: URLs, headers, assignments, tokens, and known fields.

Invariant: the rules do not depend on what the secrets are. A search for a short password would replace its letters in
every line, break the JSON, and show the password by what is missing.
"""

import re
from functools import lru_cache
from typing import Any

BLACK = "\u2588" * 3

_SECRET = "password|passwd|pwd|secret|token|authorization|cookie|credentials"  # noqa: S105 - names
_QUERY = f"{_SECRET}|code|state|sig|signature|key|api_key|apikey"

_field = re.compile(rf"(?:\w{{1,40}}[_-])?(?:{_SECRET})", re.IGNORECASE)

_PLACES = (
    # The user and the password of a URL. A password may have characters that should have been escaped.
    (re.compile(r"(://)[^\s\"']{0,2000}@"), rf"\1{BLACK}@"),
    (re.compile(rf"([?&#](?:\w{{1,40}}[_-])?(?:{_QUERY})=)[^\s&#\"']+", re.IGNORECASE), rf"\1{BLACK}"),
    # The whole rest of a header's line.
    (re.compile(r"((?:authorization|cookie)[\"']?\s{0,9}[:=]\s{0,9})[^\r\n]+", re.IGNORECASE), rf"\1{BLACK}"),
    (re.compile(r"\b(bearer)\s+[\w.~+/=-]+", re.IGNORECASE), rf"\1 {BLACK}"),
    # `password=...`, as in a connection string of libpq, where quotes enclose spaces.
    (
        re.compile(rf"((?:{_SECRET})[\"']?\s?[=:]\s?)(?:'[^']*'|\"[^\"]*\"|[^\s,;&#\"']+)", re.IGNORECASE),
        rf"\1{BLACK}",
    ),
    # A JWT: its header is a JSON object in base64.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), BLACK),
)

_PLAIN = re.compile(r"[\w.@/-]*")
"""Each place but that of a JWT has a colon, an equals sign or a space; ids, words and addresses of IPv4 do not."""


def redacted(name: str, value: Any) -> Any:
    """Return the value of a log field without the secrets in it."""
    if isinstance(value, str):
        return BLACK if _is_secret(name) else redacted_text(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(name, one) for one in value]
    if isinstance(value, dict):
        return {key: redacted(str(key), one) for key, one in value.items()}
    if value is None or isinstance(value, int | float):
        return value
    return redacted(name, str(value))


@lru_cache(256)
def _is_secret(name: str) -> bool:
    return _field.fullmatch(name) is not None


def redacted_text(text: str) -> str:
    """Return a text without the secrets at the known places."""
    if _PLAIN.fullmatch(text) and "eyJ" not in text:
        return text
    for place, safe in _PLACES:
        text = place.sub(safe, text)
    return text
