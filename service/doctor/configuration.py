"""Checks the settings, and the limits of this process."""

import resource
from collections.abc import Iterator

from service.config.settings import Settings
from service.doctor.finding import WRONG, Finding, fail, ok, warn
from service.gateway.transport.io_uring import Unsupported, tested

FEW_FILES = 12_000
"""Open files below which a process cannot serve 10,000 connections: one for each, and some for other uses."""


def examine(settings: Settings) -> list[Finding]:
    """Return the findings about the settings."""
    return [*_needed(settings), *_tokens(settings), *_bus(settings), _files(), _uring(settings)]


def _needed(settings: Settings) -> Iterator[Finding]:
    tokens = "jwt_jwks" if settings.jwt_jwks else "jwt_secret"
    if missing := settings.missing("database_url", tokens, "key_encryption_key"):
        yield fail("settings", f"{' and '.join(missing)} not set; a node does not start without it.", WRONG)
    else:
        yield ok("settings", "All settings that a node needs are set.")


def _tokens(settings: Settings) -> Iterator[Finding]:
    if "," in settings.jwt_secret:
        words = "ONRECORD_JWT_SECRET contains a comma, and is one secret as a whole"
        yield warn("tokens", f"{words}: to change the secret, replace it.")
    loose = settings.missing("jwt_issuer", "jwt_audience")
    if loose and settings.jwt_secret:
        words = (
            f"{' and '.join(loose)} not set: every token signed with this key is accepted, for any service."
        )
        yield warn("tokens", words)


def _bus(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url and not settings.bus_key:
        yield fail(
            "bus key", "ONRECORD_BUS_KEY is needed with ONRECORD_REDIS_URL (openssl rand -base64 32).", WRONG
        )
    elif not settings.redis_url:
        late = f"up to {settings.catchup_interval:g} s late"
        yield warn("bus", f"ONRECORD_REDIS_URL is not set: events reach other nodes {late}.")


def _files() -> Finding:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    words = f"A process may open {allowed:,} files here, one per connection"
    if 0 <= allowed < FEW_FILES:
        return warn("files", f"{words}: raise the limit (ulimit -n, LimitNOFILE=) for more connections.")
    return ok("files", f"{words}.")


def _uring(settings: Settings) -> Finding:
    each = "each connection is written by a system call of its own"
    if settings.uring == "off":
        return ok("uring", f"ONRECORD_URING is off: {each}.")
    try:
        tested().close()
    except Unsupported as error:
        return ok(
            "uring",
            f"io_uring cannot be used here ({error}), so {each}; deploy/seccomp has a profile that allows it.",
        )
    return ok("uring", "One system call writes an event to many connections (io_uring).")
