"""Checks the settings, and the limits of this process."""

import resource
from collections.abc import Iterator

from service.config.settings import Settings
from service.doctor.finding import WRONG, Finding, fail, ok, warn

FEW_FILES = 12_000
"""Open files below which 10,000 connections do not fit: one each, and some for the rest."""


def examine(settings: Settings) -> list[Finding]:
    """Return the findings about the settings."""
    return [*_needed(settings), *_tokens(settings), *_bus(settings), _files()]


def _needed(settings: Settings) -> Iterator[Finding]:
    tokens = "jwt_jwks" if settings.jwt_jwks else "jwt_secret"
    if missing := settings.missing("database_url", tokens, "key_encryption_key"):
        yield fail("settings", f"{' and '.join(missing)} not set: a node does not start without.", WRONG)
    else:
        yield ok("settings", "Everything that a node needs is set.")


def _tokens(settings: Settings) -> Iterator[Finding]:
    loose = settings.missing("jwt_issuer", "jwt_audience")
    if loose and settings.jwt_secret:
        words = (
            f"{' and '.join(loose)} not set: whatever else is signed with the same key opens this door too."
        )
        yield warn("tokens", words)


def _bus(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url and not settings.bus_key:
        yield fail(
            "bus key", "ONRECORD_BUS_KEY is needed with ONRECORD_REDIS_URL (openssl rand -base64 32).", WRONG
        )
    elif not settings.redis_url:
        late = f"up to {settings.catchup_interval:g} s late"
        words = f"ONRECORD_REDIS_URL is not set: several nodes would hear each other {late}."
        yield warn("bus", words)


def _files() -> Finding:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    words = f"A process may open {allowed:,} files here, and each connection is one"
    if 0 <= allowed < FEW_FILES:
        return warn("files", f"{words}: raise it (ulimit -n, LimitNOFILE=) for more than that.")
    return ok("files", f"{words}.")
