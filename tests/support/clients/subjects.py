"""User ids as identity providers issue them, and the most awkward ones that OpenID Connect allows."""

from urllib.parse import quote

SUBJECTS = (
    "a+b@example.com",
    "https://idp.example/users/1",
    "org/user",
    "org/user/",
    "/view",
    "system:serviceaccount:ns:name",
    "dGVzdA==",
    "-abc",
    "-hAbc",
    "_x",
    "__proto__",
    "..",
    ".",
    "*",
    "%2F",
    "a%00b",
    "'\"<>&\\|{}",
    "=1+1",
    "a,b;c",
    "case",
    "CASE",
    "Service:x",
    "SERVICE:x",
    "services:x",
    "user:room:1",
    "]" * 255,
)
RESERVED = ("service:x", "service:", "os:root", "node:one")
"""The names of authors who are no users."""

INVALID = (*RESERVED, "", "a b", "a\n", "\u00e9", "a\x7f", "x" * 256)


def segment(user: str) -> str:
    """Return a user id as a segment of a path: quoted, with the dots that URL libraries would drop."""
    return quote(user, safe="").replace(".", "%2E")
