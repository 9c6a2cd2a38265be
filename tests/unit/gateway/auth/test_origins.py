"""Which origins come in: a table of what browsers send, and of what others try."""

import pytest
from starlette.datastructures import Headers

from service.gateway.auth.origins import allowed_origin

LISTED = ("https://chat.example.com", "http://localhost:3000")


def headers(origin: str | None, host: str = "chat.example.com") -> Headers:
    fields = [("host", host), *([("origin", origin)] if origin is not None else [])]
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in fields])


@pytest.mark.parametrize(
    ("origin", "comes_in"),
    [
        (None, True),
        ("https://chat.example.com", True),
        ("http://localhost:3000", True),
        ("http://chat.example.com", False),
        ("https://chat.example.com:443", False),
        ("https://chat.example.com.", False),
        ("https://chat.example.com/", False),
        ("https://CHAT.example.com", False),
        ("https://sub.chat.example.com", False),
        ("https://chat.example.com.evil.com", False),
        ("https://chat.example.com@evil.com", False),
        ("https://evil.com/https://chat.example.com", False),
        ("http://localhost", False),
        ("http://localhost:30000", False),
        ("null", False),
        ("", False),
        ("*", False),
        ("https://chat.example.com, https://evil.com", False),
        ("file://", False),
    ],
)
def test_with_a_list_an_origin_is_in_it_or_not(origin: str | None, *, comes_in: bool) -> None:
    assert allowed_origin(headers(origin, "inner:8000"), LISTED) is comes_in


@pytest.mark.parametrize(
    ("origin", "host", "comes_in"),
    [
        (None, "chat.example.com", True),
        ("https://chat.example.com", "chat.example.com", True),
        ("http://chat.example.com", "chat.example.com", True),
        ("http://chat.example.com:8000", "chat.example.com:8000", True),
        ("https://chat.example.com", "chat.example.com:443", True),
        ("http://chat.example.com", "CHAT.example.com:80", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://chat.example.com", "chat.example.com:8443", False),
        ("https://chat.example.com:8443", "chat.example.com", False),
        ("https://evil.com", "chat.example.com", False),
        ("https://chat.example.com@evil.com", "chat.example.com", False),
        ("https://evil.com@chat.example.com", "chat.example.com", False),
        ("https://chat.example.com/", "chat.example.com", False),
        ("https://chat.example.com?x", "chat.example.com", False),
        ("ftp://chat.example.com", "chat.example.com", False),
        ("chrome-extension://chat.example.com", "chat.example.com", False),
        ("//chat.example.com", "chat.example.com", False),
        ("chat.example.com", "chat.example.com", False),
        ("https://chat.example.com.", "chat.example.com", False),
        ("https://chat.example.com:x", "chat.example.com", False),
        ("https://[", "chat.example.com", False),
        ("null", "null", False),
        ("", "", False),
        ("https://", "", False),
        ("http://:8000", ":8000", False),
    ],
)
@pytest.mark.parametrize("listed", [(), ("https://elsewhere.example",)])
def test_a_page_of_this_very_server_comes_in(
    listed: tuple[str, ...], origin: str | None, host: str, *, comes_in: bool
) -> None:
    assert allowed_origin(headers(origin, host), listed) is comes_in


@pytest.mark.parametrize(
    ("origin", "proto", "host", "comes_in"),
    [
        ("https://chat.example.com", "https", None, True),
        ("https://chat.example.com", "wss", None, True),
        ("https://chat.example.com", "HTTPS", None, True),
        ("https://chat.example.com", "https, http", None, True),
        ("http://chat.example.com", "http", None, True),
        ("http://chat.example.com", "https", None, False),
        ("https://chat.example.com", "http", None, False),
        ("https://chat.example.com", "gopher", None, True),
        ("https://outer.example", None, "outer.example", True),
        ("https://outer.example", "https", "outer.example, middle.example", True),
        ("https://outer.example:8443", "https", "outer.example:8443", True),
        ("https://outer.example:8443", "https", "outer.example", False),
        ("https://chat.example.com", "https", "outer.example", False),
        ("https://middle.example", "https", "outer.example, middle.example", False),
        ("https://chat.example.com", "", "", True),
    ],
)
def test_a_proxy_names_the_address_that_the_browser_used(
    origin: str, proto: str | None, host: str | None, *, comes_in: bool
) -> None:
    forwarded = {"x-forwarded-proto": proto, "x-forwarded-host": host}
    fields = [("host", "chat.example.com"), ("origin", origin), *forwarded.items()]
    raw = [(name.encode(), value.encode()) for name, value in fields if value is not None]
    assert allowed_origin(Headers(raw=raw), ()) is comes_in


def test_who_names_two_origins_is_refused() -> None:
    raw = [(b"host", b"a"), (b"origin", b"http://a"), (b"origin", b"http://b")]
    assert not allowed_origin(Headers(raw=raw), ())
    assert not allowed_origin(Headers(raw=raw), ("http://a", "http://b"))
