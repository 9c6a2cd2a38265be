"""Parses the values of settings.

Each function raises `ValueError` for an invalid text; the message continues a sentence that begins with the setting's
name.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

_SHORTEST_SECRET = 32  # bytes: RFC 7518, 3.2 wants a key at least as long as HS256's hash
_KEY_LENGTH = 32  # bytes: AES-256
CALLBACK = "/signin/callback"
_LONGEST_CLAIM = 200  # characters
ANY_VALID_TOKEN = "any-valid-token"  # noqa: S105 - a word of the settings
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def text(raw: str) -> str:
    """Return any text unchanged."""
    return raw


def operator(raw: str) -> str:
    """Return the name of an operator, which has no slash: one separates it from the operating system's user."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@|-]{0,127}", raw):
        raise ValueError("has to be letters, digits and . _ @ | - (at most 128), such as alice@example.com")
    return raw


def path(raw: str) -> Path:
    """Return a path, with `~` expanded."""
    return Path(raw).expanduser()


def flag(raw: str) -> bool:
    """Return a boolean: true, yes, on or 1, and false, no, off or 0."""
    if (word := raw.lower()) not in (*_TRUE, *_FALSE):
        raise ValueError("has to be true or false")
    return word in _TRUE


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser of integers between two bounds, both included."""
    span = f"at least {least}" if most is None else f"from {least} to {most}"

    def parse(raw: str) -> int:
        number = int(raw) if re.fullmatch(r"-?\d{1,12}", raw, re.ASCII) else None
        if number is None or number < least or (most is not None and number > most):
            raise ValueError(f"has to be a whole number {span}")
        return number

    return parse


def seconds(raw: str) -> float:
    """Return a number of seconds above 0."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", raw, re.ASCII) or float(raw) == 0:
        raise ValueError("has to be a number of seconds above 0, such as 5 or 0.5")
    return float(raw)


def seconds_or_zero(raw: str) -> float:
    """Return a number of seconds, or 0."""
    return 0.0 if re.fullmatch(r"0(\.0+)?", raw, re.ASCII) else seconds(raw)


def share(raw: str) -> float:
    """Return a number from 0 to 1."""
    if not re.fullmatch(r"0(\.\d{1,9})?|1(\.0+)?", raw, re.ASCII):
        raise ValueError("has to be a number from 0 to 1, such as 0.01")
    return float(raw)


def url(*schemes: str) -> Callable[[str], str]:
    """Return a parser of addresses with one of these schemes."""

    def parse(raw: str) -> str:
        try:
            # A password with an unescaped special character can be parsed as a port, which error messages would show.
            usable = (
                raw.partition("://")[0] in schemes and raw.partition("://")[2] and urlsplit(raw).port != 0
            )
        except ValueError:
            usable = False
        if not usable:
            starts = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"has to be an address that starts with {starts}")
        return raw

    return parse


def origins(raw: str) -> tuple[str, ...]:
    """Return web origins in the form that browsers send: scheme, host, and the port if it is not the default one."""
    origins = tuple(part.strip().lower() for part in raw.split(",") if part.strip())
    for origin in origins:
        if origin.endswith("/"):
            raise ValueError(
                "has to be comma-separated origins without a path, and without the slash at the end"
            )
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", origin):
            raise ValueError(
                "has to be comma-separated origins, each a scheme, a host and maybe a port, such as "
                "https://chat.example.com,http://localhost:5173"
            )
    return tuple(re.sub(r"\A(http://.*):80\Z|\A(https://.*):443\Z", r"\1\2", origin) for origin in origins)


def networks(raw: str) -> tuple[str, ...]:
    """Return addresses and networks; a network of all addresses is refused."""
    parts = tuple(part.strip() for part in raw.split(",") if part.strip())
    try:
        usable = parts and all(ipaddress.ip_network(part).prefixlen > 0 for part in parts)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("has to be comma-separated addresses or networks, such as 10.0.0.7,10.1.0.0/16")
    return parts


def shared_secret(raw: str) -> str:
    """Return a key for HS256."""
    if len(raw.encode()) < _SHORTEST_SECRET:
        raise ValueError(f"has to be at least {_SHORTEST_SECRET} bytes long")
    return raw


def keys(raw: str) -> bytes:
    """Return keys for AES-256, each in base64 or as `file:` and the path of a file that holds it."""
    return b"".join(key(_from_file(part.strip())) for part in raw.split(","))


def _from_file(raw: str) -> str:
    if not raw.startswith("file:"):
        return raw
    try:
        return Path(raw.removeprefix("file:")).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as problem:
        raise ValueError(f"names a file that cannot be read ({problem})") from problem


def key(raw: str) -> bytes:
    """Return a key for AES-256, from base64."""
    try:
        key = base64.b64decode(raw, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_LENGTH:
        example = f"openssl rand -base64 {_KEY_LENGTH}"
        raise ValueError(f"has to be {_KEY_LENGTH} random bytes in base64 ({example})")
    return key


def role_prefix(raw: str) -> str:
    """Return the first part of names of database roles."""
    if not re.fullmatch("(?!pg_)[a-z][a-z0-9_]{0,39}", raw):
        raise ValueError(
            "has to be a letter and up to 39 of a-z, 0-9 and _, without pg_ in front, such as chat_b"
        )
    return raw


def one_of(*known: str) -> Callable[[str], str]:
    """Return a parser of one of these words."""

    def parse(raw: str) -> str:
        if raw not in known:
            raise ValueError(f"has to be {' or '.join(known)}")
        return raw

    return parse


def among(*known: str) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of comma-separated words out of these."""

    def parse(raw: str) -> tuple[str, ...]:
        words = tuple(part.strip() for part in raw.split(",") if part.strip())
        if not words or not set(words) <= set(known):
            raise ValueError(f"has to be a comma-separated selection of {', '.join(known)}")
        return words

    return parse


def key_set(raw: str) -> str:
    """Return the address of public keys, or the path of a file."""
    if not urlsplit(raw).scheme:
        return str(path(raw))
    if not is_safe(raw):
        raise ValueError("has to be an https:// address or the path of a file")
    return raw


def redirect_uri(raw: str) -> str:
    """Return the address to which the identity provider redirects."""
    address = urlsplit(raw)
    if not is_safe(raw) or address.path != CALLBACK or address.query or address.fragment or "#" in raw:
        raise ValueError(f"has to be the https:// address of the page followed by {CALLBACK}")
    return raw


def scopes(raw: str) -> tuple[str, ...]:
    """Return scopes of OAuth (RFC 6749, 3.3), which include `openid`."""
    words = tuple(raw.replace(",", " ").split())
    if "openid" not in words or not all(re.fullmatch(r"[!#-\[\]-~]+", word) for word in words):
        raise ValueError(
            "has to be scopes separated by spaces or commas, including openid, such as openid,profile"
        )
    return words


def claim(raw: str) -> str:
    """Return the name of a claim, or a dotted path to it."""
    if not re.fullmatch(r"[^\s.]+(\.[^\s.]+)*", raw) or len(raw) > _LONGEST_CLAIM:
        raise ValueError("has to be the name of a claim, or a path with dots, such as realm_access.roles")
    return raw


def scope_word(raw: str) -> str:
    """Return one word of a scope claim."""
    if not re.fullmatch(r"[!-+\--~]+", raw):
        raise ValueError(f"has to be {ANY_VALID_TOKEN} or one scope, without spaces and commas, such as chat")
    return raw


def role_scopes(raw: str) -> tuple[str, ...]:
    """Return pairs of a role and the scope that it grants, each as `role:scope`."""
    pairs = tuple(part.strip() for part in raw.split(",") if part.strip())
    if not pairs or not all(re.fullmatch(r".+:(chat|auditor|admin)", pair) for pair in pairs):
        raise ValueError("has to be comma-separated pairs such as chat-user:chat,compliance:auditor")
    return pairs


def is_safe(address: str) -> bool:
    """Return whether secrets may be sent to an address: https, or http on this machine."""
    try:
        parts = urlsplit(address)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        return bool(parts.hostname) and parts.scheme in (("https", "http") if local else ("https",))
    except ValueError:
        return False
