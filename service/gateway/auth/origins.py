"""Which web pages may come in, by the origin that their browser names (RFC 6454).

An origin is a scheme, a host and a port. With a list an origin has to be in it, letter for letter as browsers send it
(lower case, no port where it is the scheme's own). Without one a page has to come from this very server.

The rule: this is asked at every upgrade, poll, and request that changes something; whoever names no origin is no page.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

_PORTS = {"http": 80, "https": 443}


def allowed_origin(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """Return whether a page of the request's `Origin` may come in."""
    if len(named := headers.getlist("origin")) != 1:
        return not named  # two of them: whoever put them together is not to decide between them
    if allowed:
        return named[0] in allowed
    return _own(named[0], headers)


def _own(origin: str, headers: Headers) -> bool:
    """Return whether an origin is this server's own, as `Host` names it.

    Behind a load balancer that ends TLS the page is `https` and the request is not: either scheme is this server's,
    each with the port that it stands for where `Host` names none.
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
        return False  # no URL, or no port, at all
