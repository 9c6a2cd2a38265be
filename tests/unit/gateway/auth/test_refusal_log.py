"""Log lines about refusals: what they name, what they never repeat, and how many there are."""

import logging
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from starlette.datastructures import Headers

from service.config.settings import SHARED
from service.errors import (
    Malformed,
    NotAllowed,
    OnRecordError,
    TokenExpired,
    TokenInvalid,
    TokenNotYetValid,
    TooManyRequests,
    Unavailable,
)
from service.gateway.auth.jwks import SharedSecret
from service.gateway.auth.origins import MAX_LOGGED, check_origin
from service.gateway.auth.refusal_log import AT_ONCE, EACH_AT_ONCE, RefusalLog
from service.gateway.auth.tokens import TokenVerifier
from service.protocol.commands import USER_ID_FORM
from tests.support.clock import Clock
from tests.support.environment import SECRET, token

MARK = "marked"
VERIFIER = TokenVerifier(SharedSecret(SECRET), SHARED, issuer="us", audience="chat", leeway=0)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.msg == "refused"]


def headed(**header: str) -> str:
    """Return a token with more in its header."""
    return jwt.encode(
        {"alg": "HS512", **header}, {"sub": MARK}, OctKey.import_key(SECRET), algorithms=["HS512"]
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (MARK, "decode_error"),
        (f"{MARK}.{MARK}.{MARK}", "decode_error"),
        (headed(typ=MARK), "unsupported_algorithm"),
        (token(MARK), "missing_claim: Missing claim: 'aud,iss'"),
        (token(MARK, iss=MARK, aud="chat"), "invalid_claim: Invalid claim: 'iss': us is expected"),
        (token(MARK, iss="us", aud=[MARK]), "invalid_claim: Invalid claim: 'aud'"),
        (token(f"{MARK} {MARK}", iss="us", aud="chat"), f"its sub is no user id, which is {USER_ID_FORM}"),
        (token(MARK, iss="us", aud="chat", iat=MARK), "its iat is not a number of seconds since 1970"),
        (f"{token(MARK)}{MARK}", "bad_signature"),
        (MARK * 10_000, "it is too long"),
    ],
    ids=lambda value: value[:20],
)
async def test_a_refused_token_is_logged_by_its_fault_and_never_repeated(
    caplog: pytest.LogCaptureFixture, given: str, problem: str
) -> None:
    with pytest.raises(TokenInvalid) as refused:
        await VERIFIER.verify(given)
    RefusalLog(Clock()).write("native", "203.0.113.9", refused.value.code, refused.value)
    (line,) = lines(caplog)
    assert (line["door"], line["reason"], line["problem"], line["address"]) == (
        "native",
        "token_invalid",
        problem,
        "203.0.113.9",
    )
    assert MARK not in str(line)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (TokenExpired(), "The token has expired."),
        (
            TokenNotYetValid(notBefore="2099-01-01T00:00:00Z", retryAfter=7),
            "The token is not valid before 2099-01-01T00:00:00Z.",
        ),
        (
            NotAllowed(problem="This needs a token with the scope chat."),
            "This needs a token with the scope chat.",
        ),
        (TooManyRequests(retryAfter=2), "Too many requests; wait 2 seconds."),
        (Unavailable(), str(Unavailable())),
        (Malformed(problem=f"{MARK} is no room id"), "a reason"),
        (None, "a reason"),
    ],
)
def test_other_refusals_are_logged_with_what_is_safe(
    caplog: pytest.LogCaptureFixture, error: OnRecordError | None, problem: str
) -> None:
    RefusalLog(Clock()).write("native", None, "a_reason", error)
    (line,) = lines(caplog)
    assert (line["reason"], line["problem"], line["address"]) == ("a_reason", problem, None)
    assert MARK not in str(line)


@pytest.mark.parametrize(
    ("origins", "logged"),
    [
        (["https://evil.example"], "https://evil.example"),
        (["https://a.example", "https://b.example"], "https://a.example, https://b.example"),
        (["https://evil.example\x1b[2J"], "https://evil.example[2J"),
        (["x" * 10_000], "x" * MAX_LOGGED),
        (["null"], "null"),
    ],
)
def test_a_refused_origin_is_logged_in_printable_characters(
    caplog: pytest.LogCaptureFixture, origins: list[str], logged: str
) -> None:
    headers = Headers(raw=[(b"origin", origin.encode("utf-8")) for origin in origins])
    with pytest.raises(NotAllowed) as refused:
        check_origin(headers, ("https://chat.example",), "connect")
    RefusalLog(Clock()).write("http", "203.0.113.9", "not_allowed", refused.value)
    (line,) = lines(caplog)
    assert (line["reason"], line["origin"], line["address"]) == ("foreign_origin", logged, "203.0.113.9")


def test_lines_have_a_rate_per_address_and_in_total(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    refusals = RefusalLog(clock)
    for _ in range(1_000):
        refusals.write("native", "203.0.113.9", "token_invalid")
    assert len(lines(caplog)) == EACH_AT_ONCE
    refusals.write("native", "2001:db8::1", "token_invalid")
    assert lines(caplog)[-1]["withheld"] == 1_000 - EACH_AT_ONCE
    for number in range(1_000):
        refusals.write("native", f"10.0.{number // 250}.{number % 250}", "token_invalid")
    assert len(lines(caplog)) == AT_ONCE
    clock.now += 3_600
    refusals.write("native", "203.0.113.9", "token_invalid")
    assert lines(caplog)[-1]["withheld"] == 1_000 - (AT_ONCE - EACH_AT_ONCE - 1)
