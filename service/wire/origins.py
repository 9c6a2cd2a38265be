"""Which web pages may come in, by the origin that their browser names (RFC 6454)."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers


def allowed_origin(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """Return whether a page of the request's `Origin` may come in; a client that sends none is no page.

    Without a list the page has to come from this very server, as its `Host` names it.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    if allowed:
        return origin in allowed
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False  # no URL at all
