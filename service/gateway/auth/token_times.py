"""Checks the times of a token (NumericDate, RFC 7519, 2): seconds since 1970, with or without a fraction.

`exp` and `nbf` may be `leeway` seconds off. `iat` says when the token was issued, which is no reason to refuse it: a
provider's clock may be ahead. An `iat` more than a day ahead is a mistake, such as milliseconds.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from joserfc.jwt import JWTClaimsRegistry

from service.errors import TokenExpired, TokenInvalid, TokenNotYetValid

IAT_AHEAD = 86_400
"""Seconds by which `iat` may be in the future."""

_LATEST = 253_402_300_799
"""The last second of the year 9999, with which the calendar ends."""


class UntimedClaims(JWTClaimsRegistry):
    """The library's checks of the claims, without the times."""

    def validate_exp(self, value: object) -> None:
        """See `check_times`, as for the others."""

    validate_nbf = validate_iat = validate_exp


def check_times(claims: Mapping[str, Any], now: float, leeway: float) -> None:
    """Check the claims `exp`, `nbf` and `iat`; those that are absent are not checked.

    Raises:
        TokenInvalid: one is not a number of seconds, or `iat` is more than a day ahead.
        TokenExpired: `exp` has passed.
        TokenNotYetValid: `nbf` has not come.
    """
    exp, nbf, iat = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
    if iat is not None and iat > now + IAT_AHEAD:
        raise TokenInvalid(problem="its iat is more than a day ahead")
    if exp is not None and exp <= now - leeway:
        raise TokenExpired
    if nbf is not None and nbf > now + leeway:
        wait = math.ceil(min(nbf, _LATEST) - leeway - now)
        raise TokenNotYetValid(notBefore=f"{as_datetime(nbf):%Y-%m-%dT%H:%M:%SZ}", retryAfter=wait)


def as_datetime(seconds: float, leeway: float = 0) -> datetime:
    """Return the UTC time of a NumericDate and a leeway; the last time that there is if it is later."""
    return datetime.fromtimestamp(min(min(seconds, _LATEST) + leeway, _LATEST), UTC)


def issued_at(claims: Mapping[str, Any]) -> datetime | None:
    """Return `iat` of claims whose times are checked; None if there is none."""
    return as_datetime(max(claims["iat"], 0)) if "iat" in claims else None


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    # An int is finite, and may be too large for a float.
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    ):
        raise TokenInvalid(problem=f"its {name} is not a number of seconds since 1970")
    return value
