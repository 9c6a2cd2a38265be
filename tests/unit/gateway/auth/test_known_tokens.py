"""A token that comes back is not verified again, and is refused as soon as it would be."""

import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from service.config.settings import SHARED
from service.errors import TokenExpired, TokenInvalid, Unavailable
from service.gateway.auth import tokens
from service.gateway.auth.tokens import MAX_TOKEN, TokenVerifier

SECRET = "a secret of the tests, thirty-two bytes and more"
LATER = int(time.time()) + 3600


class Keys:
    """One key, which may be replaced or be out of reach."""

    def __init__(self) -> None:
        self.key: OctKey | None = OctKey.import_key(SECRET)

    async def find(self, algorithm: str, key_id: str | None) -> OctKey:  # noqa: ARG002 - there is one key
        if self.key is None:
            raise Unavailable
        return self.key


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def verifier(keys: Keys) -> TokenVerifier:
    return TokenVerifier(keys, SHARED, issuer=None, audience=None, leeway=0)


@pytest.fixture
def read(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the tokens whose signature is verified from now on."""
    verified: list[str] = []
    claims_of = verifier._claims_of

    def noted(token: str, header: Any, key: Any) -> Any:
        verified.append(token)
        return claims_of(token, header, key)

    monkeypatch.setattr(verifier, "_claims_of", noted)
    return verified


def signed(user: str = "alice", secret: str = SECRET, expires: int = LATER) -> str:
    claims = {"sub": user, "exp": expires, "name": user.title(), "iat": LATER - 7200}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))


async def test_a_known_token_is_not_verified_again(verifier: TokenVerifier, read: list[str]) -> None:
    first = await verifier.verify(signed())
    assert await verifier.verify(signed()) == first
    assert read == [signed()]


async def test_a_known_token_expires(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    await verifier.verify(signed())
    monkeypatch.setattr(time, "time", lambda: LATER + 1)
    with pytest.raises(TokenExpired):
        await verifier.verify(signed())


async def test_a_known_token_of_a_replaced_key_is_refused(verifier: TokenVerifier, keys: Keys) -> None:
    await verifier.verify(signed())
    keys.key = OctKey.import_key("another secret of the tests, as long as the first")
    with pytest.raises(TokenInvalid):
        await verifier.verify(signed())


async def test_a_known_token_waits_for_keys_that_are_out_of_reach(
    verifier: TokenVerifier, keys: Keys
) -> None:
    await verifier.verify(signed())
    keys.key = None
    with pytest.raises(Unavailable):
        await verifier.verify(signed())


async def test_a_token_like_a_known_one_is_refused(verifier: TokenVerifier) -> None:
    known = signed()
    await verifier.verify(known)
    for other in (
        known[:-2] + ("AA" if known[-2:] != "AA" else "QQ"),
        known + "x" * MAX_TOKEN,
        known + "\ud800",
    ):
        with pytest.raises(TokenInvalid):
            await verifier.verify(other)


async def test_a_refused_token_is_refused_again(verifier: TokenVerifier) -> None:
    for _ in range(2):
        with pytest.raises(TokenInvalid):
            await verifier.verify(signed(secret="x" * 32))
    assert not verifier._verified


async def test_the_known_tokens_are_bounded(
    verifier: TokenVerifier, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_VERIFIED", 2)
    for user in ("alice", "bob", "alice", "carol", "alice"):
        await verifier.verify(signed(user))
    assert len(verifier._verified) == 2
    assert read == [signed("alice"), signed("bob"), signed("carol")]
