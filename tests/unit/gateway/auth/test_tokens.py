"""Tokens: which are accepted, and which are refused."""

import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from service.config.settings import SHARED
from service.errors import NotAllowed, TokenExpired, TokenInvalid, TokenNotYetValid
from service.gateway.auth.claims import ADMIN, AUDITOR, CHAT, MAX_NAME
from service.gateway.auth.jwks import SharedSecret
from service.gateway.auth.tokens import (
    MAX_TOKEN,
    MOST_HEADERS,
    TokenVerifier,
    bearer,
)

SECRET = "a secret of the tests, thirty-two bytes and more"
TOKENS = TokenVerifier(SharedSecret(SECRET), SHARED, issuer=None, audience=None, leeway=0)
LATER = int(time.time()) + 3600


def signed(claims: dict[str, Any], secret: str = SECRET, alg: str = "HS256") -> str:
    return jwt.encode({"alg": alg}, claims, OctKey.import_key(secret), algorithms=[alg])


def unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}."


async def test_a_token_says_who_for_how_long_and_for_what() -> None:
    identity = await TOKENS.verify(
        signed({"sub": "alice", "name": " Alice ", "exp": LATER, "scope": "chat auditor"})
    )
    assert (identity.user, identity.name) == ("alice", "Alice")
    assert identity.expires_at.timestamp() == LATER
    assert identity.scopes == {"chat", "auditor"}


@pytest.mark.parametrize(
    ("claims", "granted"),
    [
        ({}, {CHAT}),
        ({"scope": "chat"}, {CHAT}),
        ({"scope": "auditor"}, {AUDITOR}),
        ({"scope": "admin chat"}, {ADMIN, CHAT}),
        ({"scope": "openid  profile"}, set()),
        ({"scope": ""}, set()),
        ({"scope": ["chat"]}, {CHAT}),
        ({"scope": 7}, set()),
    ],
)
async def test_a_token_grants_what_it_names_and_nothing_implies_anything(
    claims: dict[str, Any], granted: set[str]
) -> None:
    identity = await TOKENS.verify(signed({"sub": "alice", "exp": LATER, **claims}))
    for scope in (CHAT, AUDITOR, ADMIN):
        if scope in granted:
            identity.require(scope)
        else:
            with pytest.raises(NotAllowed, match=f"the scope {scope}"):
                identity.require(scope)


async def test_a_token_of_our_own_is_good() -> None:
    assert (await TOKENS.verify(TOKENS.sign("alice", "Alice", 60))).user == "alice"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "a.b.c",
        "x" * (MAX_TOKEN + 1),
        signed({"sub": "alice", "exp": LATER}, secret="another secret, which is not the one we know"),
        signed({"sub": "alice", "exp": LATER}, alg="HS512"),
        unsigned({"sub": "alice", "exp": LATER}),
        signed({"exp": LATER}),
        signed({"sub": "alice"}),
        signed({"sub": "alice", "exp": "tomorrow"}),
        signed({"sub": "", "exp": LATER}),
        signed({"sub": "has space", "exp": LATER}),
        signed({"sub": "a" * 256, "exp": LATER}),
        signed({"sub": "alice\n", "exp": LATER}),
        signed({"sub": 7, "exp": LATER}),
    ],
    ids=lambda token: token[:8],  # the rest differs from second to second
)
async def test_what_is_no_good_token_lets_nobody_in(token: str) -> None:
    with pytest.raises(TokenInvalid):
        await TOKENS.verify(token)


async def test_a_token_that_is_not_valid_yet_is_told_from_a_bad_one() -> None:
    with pytest.raises(TokenNotYetValid):
        await TOKENS.verify(signed({"sub": "alice", "exp": LATER, "nbf": LATER}))


async def test_a_header_that_was_seen_before_makes_no_other_token_good() -> None:
    tokens = TokenVerifier(SharedSecret(SECRET), SHARED, issuer=None, audience=None, leeway=0)
    good = signed({"sub": "alice", "exp": LATER})
    header, claims, signature = good.split(".")
    for number in range(MOST_HEADERS + 1):  # any number of headers costs no more memory than these
        named = jwt.encode(
            {"alg": "HS256", "kid": str(number)}, {"sub": "bob", "exp": LATER}, OctKey.import_key(SECRET)
        )
        assert (await tokens.verify(named)).user == "bob"
        assert (await tokens.verify(good)).user == "alice"
    assert len(tokens._headers) <= MOST_HEADERS
    theirs = signed({"sub": "bob", "exp": LATER}).split(".")[1]
    bad = (
        header,
        f"{header}.",
        f"{header}.{claims}",
        f"{header}.{claims}.",
        f"{header}.{theirs}.{signature}",
        f"{good}.",
    )
    for token in bad:
        with pytest.raises(TokenInvalid):
            await tokens.verify(token)


async def test_token_expiry_is_exact_and_subsecond_leeway_counts() -> None:
    now = time.time()
    token = signed({"sub": "alice", "exp": now - 0.3})
    with pytest.raises(TokenExpired):
        await TOKENS.verify(token)
    lenient = TokenVerifier(SharedSecret(SECRET), SHARED, issuer=None, audience=None, leeway=3600.5)
    identity = await lenient.verify(token)
    assert abs(identity.expires_at.timestamp() - (now + 3600.2)) < 0.001


async def test_a_token_runs_out_and_leeway_bridges_clocks_that_differ() -> None:
    token = signed({"sub": "alice", "exp": int(time.time()) - 10})
    with pytest.raises(TokenExpired):
        await TOKENS.verify(token)
    lenient = TokenVerifier(SharedSecret(SECRET), SHARED, issuer=None, audience=None, leeway=60)
    assert (await lenient.verify(token)).user == "alice"


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"iss": "us", "aud": "chat"}, True),
        ({"iss": "us", "aud": ["other", "chat"]}, True),
        ({"iss": "them", "aud": "chat"}, False),
        ({"iss": "us", "aud": "other"}, False),
        ({"iss": "us"}, False),
        ({"aud": "chat"}, False),
    ],
)
async def test_issuer_and_audience_count_where_they_are_configured(
    claims: dict[str, Any], *, good: bool
) -> None:
    strict = TokenVerifier(SharedSecret(SECRET), SHARED, issuer="us", audience="chat", leeway=0)
    token = signed({"sub": "alice", "exp": LATER, **claims})
    if good:
        assert (await strict.verify(token)).user == "alice"
    else:
        with pytest.raises(TokenInvalid):
            await strict.verify(token)


async def test_another_issuer_is_named_beside_the_expected_one() -> None:
    strict = TokenVerifier(SharedSecret(SECRET), SHARED, issuer="https://id.example", audience=None, leeway=0)
    with pytest.raises(TokenInvalid) as refused:
        await strict.verify(signed({"sub": "alice", "exp": LATER, "iss": "https://id.example/"}))
    assert "its iss is https://id.example/, and https://id.example is expected" in str(refused.value)
    assert str(refused.value.data["logged"]).endswith("is expected; it differs by a slash at its end")


@pytest.mark.parametrize("name", ["", "  ", 7, None, "\0", ["Alice"]])
async def test_a_name_that_cannot_be_shown_counts_as_none(name: object) -> None:
    identity = await TOKENS.verify(signed({"sub": "alice", "exp": LATER, "name": name}))
    assert identity.name is None


async def test_a_long_name_is_cut_and_a_far_expiry_is_kept_in_range() -> None:
    identity = await TOKENS.verify(signed({"sub": "alice", "exp": 10**15, "name": "é" * 500}))
    assert identity.name == "é" * MAX_NAME
    assert identity.expires_at.year == 9999


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Basic x", None),
        ("Bearer", None),
        ("Bearer  ", None),
        ("bearer abc", "abc"),
    ],
)
def test_a_bearer_token_is_read_from_its_header(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (signed({"sub": "alice", "exp": LATER}) + "A", "bad_signature"),
        (
            f"Bearer {signed({'sub': 'alice', 'exp': LATER})}",
            "it begins with Bearer, which belongs in the header Authorization alone",
        ),
    ],
)
async def test_an_error_about_a_token_is_a_sentence(token: str, problem: str) -> None:
    with pytest.raises(TokenInvalid) as refused:
        await TOKENS.verify(token)
    assert str(refused.value) == f"The token is not valid: {problem}."
