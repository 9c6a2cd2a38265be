"""Decides which web pages may connect, by the origin that their browser sends (RFC 6454).

An origin is a scheme, a host and a port. A page may connect if it comes from this server, or if its origin equals a
configured one as browsers send it (lower case, no port if it is the scheme's default).

`X-Forwarded-Host` and `X-Forwarded-Proto` count: `service.gateway.http.protocol` drops them unless a trusted proxy sent
them.

Invariant: the origin is checked at every upgrade, poll, and request that changes something. A request without `Origin`
does not come from a page, and is allowed.
"""

from itertools import islice
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from service.errors import NotAllowed

MAX_LOGGED = 200
"""Characters of a refused origin that are logged."""

MAX_SHOWN = 80
"""Characters of a refused origin in an error text."""

READABLE = {"Access-Control-Allow-Origin": "*"}
"""The headers that let a page of a refused origin read why; the refusal contains nothing else."""

_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


def check_origin(headers: Headers, allowed: tuple[str, ...], action: str) -> None:
    """Raise unless a page of the request's `Origin` may send it; `action` is a verb for the error text.

    Raises:
        NotAllowed: the origin is not allowed; `data` has it as `origin`.
    """
    if not allowed_origin(headers, allowed):
        sent = "".join(islice(filter(str.isprintable, ", ".join(headers.getlist("origin"))), MAX_LOGGED))
        problem = (
            f"Pages of the origin '{sent[:MAX_SHOWN]}' may not {action} here; the server's setting ONRECORD_ORIGINS "
            "lists the other origins that may."
        )
        raise NotAllowed(problem=problem, origin=sent)


def allowed_origin(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """Return whether a page of the request's `Origin` may connect."""
    if len(named := headers.getlist("origin")) != 1:
        return not named  # several are refused: which of them counts would be ambiguous
    return named[0] in allowed or _own(named[0], headers)


def _own(origin: str, headers: Headers) -> bool:
    """Return whether an origin is this server's own: that of the address to which the browser sent the request.

    Behind a load balancer that terminates TLS and says nothing of it, the page is `https` and the request is not. Both
    schemes then count as this server's, each with its default port if the host has none.
    """
    try:
        page = urlsplit(origin)
        host = urlsplit(f"//{_first(headers, 'x-forwarded-host') or headers.get('host', '')}")
        if (
            page.scheme not in _schemes(headers)
            or origin != f"{page.scheme}://{page.netloc}"
            or page.username is not None
        ):
            return False
        if page.hostname is None or page.hostname != host.hostname:
            return False
        return (page.port or _PORTS[page.scheme]) == (host.port or _PORTS[page.scheme])
    except ValueError:
        return False  # not a URL, or an invalid port


def _schemes(headers: Headers) -> tuple[str, ...]:
    """Return the schemes of this server's pages: that which the proxy names, else both."""
    named = _SCHEMES.get(_first(headers, "x-forwarded-proto").lower())
    return (*_PORTS,) if named is None else (named,)


def _first(headers: Headers, name: str) -> str:
    """Return the first element of a list header: each proxy on the way appends one; empty if there is none."""
    return headers.get(name, "").partition(",")[0].strip()
