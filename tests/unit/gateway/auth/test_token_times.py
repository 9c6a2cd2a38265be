"""The times of tokens: fractions count, clocks may differ, and a token that is early is not a bad one."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import TokenExpired, TokenInvalid, TokenNotYetValid
from service.gateway.auth.jwks import SharedSecret
from service.gateway.auth.token_times import IAT_AHEAD, as_datetime, check_times
from service.gateway.auth.tokens import TokenVerifier
from tests.support.environment import SECRET, token

NOW = 1_800_000_000.25
DAY = 86_400
TABLE: list[tuple[dict[str, Any], type[Exception] | None]] = [
    ({}, None),
    ({"iat": NOW}, None),
    ({"iat": NOW + 0.5}, None),
    ({"iat": NOW + 1.5}, None),
    ({"iat": NOW + DAY}, None),
    ({"iat": NOW + DAY + 0.5}, TokenInvalid),
    ({"iat": NOW * 1000}, TokenInvalid),
    ({"iat": 0}, None),
    ({"nbf": NOW}, None),
    ({"nbf": NOW + 10}, None),
    ({"nbf": NOW + 10.01}, TokenNotYetValid),
    ({"nbf": 10**400}, TokenNotYetValid),
    ({"exp": NOW}, None),
    ({"exp": NOW - 9.99}, None),
    ({"exp": NOW - 10}, TokenExpired),
    ({"exp": -(10**400)}, TokenExpired),
    ({"exp": 10**400}, None),
    ({"exp": 1e308}, None),
    ({"exp": NOW - 10, "nbf": NOW + 60}, TokenExpired),
    *(
        ({name: wrong}, TokenInvalid)
        for name in ("exp", "nbf", "iat")
        for wrong in ("1", None, True, [1], float("nan"), float("inf"))
    ),
]


@pytest.mark.parametrize(("claims", "refused"), TABLE, ids=str)
def test_times_are_compared_with_fractions_and_leeway(
    claims: dict[str, Any], refused: type[Exception] | None
) -> None:
    if refused is None:
        check_times(claims, NOW, 10)
    else:
        with pytest.raises(refused):
            check_times(claims, NOW, 10)


@given(st.floats(0, 1e15) | st.integers(0, 10**400), st.floats(0, 1e6))
def test_an_early_token_is_valid_after_the_wait_that_the_error_names(nbf: float, leeway: float) -> None:
    try:
        check_times({"nbf": nbf}, NOW, leeway)
    except TokenNotYetValid as early:
        wait = early.data["retryAfter"]
        assert isinstance(wait, int)
        assert wait >= 1
        if nbf < as_datetime(nbf).timestamp() + 1:  # else it is after the year 9999
            check_times({"nbf": nbf}, NOW + wait + 0.001, leeway)


def test_an_early_token_is_named_by_its_time() -> None:
    with pytest.raises(TokenNotYetValid) as early:
        check_times({"nbf": 4_070_908_800}, NOW, 10)
    assert str(early.value) == "The token is not valid before 2099-01-01T00:00:00Z."


@pytest.mark.parametrize("ahead", [0.0, 0.9, 1.5, 3600, IAT_AHEAD - 60])
async def test_a_token_issued_at_this_very_moment_is_good(ahead: float) -> None:
    tokens = TokenVerifier(SharedSecret(SECRET), ("HS256",), issuer=None, audience=None, leeway=0)
    for _ in range(12):
        assert (await tokens.verify(token("alice", iat=time.time() + ahead))).user == "alice"
