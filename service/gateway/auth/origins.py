"""Decides which web pages may connect, by the origin that their browser sends (RFC 6454).

An origin is a scheme, a host and a port. If origins are configured, the page's must equal one of them as browsers send
it (lower case, no port if it is the scheme's default). Otherwise the page must come from this server.

Invariant: the origin is checked at every upgrade, poll, and request that changes something. A request without `Origin`
does not come from a page, and is allowed.
"""

from itertools import islice
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from service.errors import NotAllowed

MAX_LOGGED = 200
"""Characters of a refused origin that are logged."""

_PORTS = {"http": 80, "https": 443}


def check_origin(headers: Headers, allowed: tuple[str, ...], action: str) -> None:
    """Raise unless a page of the request's `Origin` may send it; `action` is a verb for the error text.

    Raises:
        NotAllowed: the origin is not allowed; `data` has it as `origin`.
    """
    if not allowed_origin(headers, allowed):
        sent = "".join(islice(filter(str.isprintable, ", ".join(headers.getlist("origin"))), MAX_LOGGED))
        raise NotAllowed(problem=f"Pages of this origin may not {action} here.", origin=sent)


def allowed_origin(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """Return whether a page of the request's `Origin` may connect."""
    if len(named := headers.getlist("origin")) != 1:
        return not named  # several are refused: which of them counts would be ambiguous
    if allowed:
        return named[0] in allowed
    return _own(named[0], headers)


def _own(origin: str, headers: Headers) -> bool:
    """Return whether an origin is this server's own, by the request's `Host`.

    Behind a load balancer that terminates TLS, the page is `https` and the request is not. Both schemes therefore count
    as this server's, each with its default port if `Host` has none.
    """
    try:
        page = urlsplit(origin)
        host = urlsplit(f"//{headers.get('host', '')}")
        if (
            page.scheme not in _PORTS
            or origin != f"{page.scheme}://{page.netloc}"
            or page.username is not None
        ):
            return False
        if page.hostname is None or page.hostname != host.hostname:
            return False
        return (page.port or _PORTS[page.scheme]) == (host.port or _PORTS[page.scheme])
    except ValueError:
        return False  # not a URL, or an invalid port
