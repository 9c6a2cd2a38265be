"""Published keys: which tokens they let in, and what happens when they change, are away, or are asked for in vain."""

import asyncio
import base64
import hmac
import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from service.config.settings import PUBLISHED
from service.errors import TokenInvalid, Unavailable
from service.gateway.auth import fetch, jwks
from service.gateway.auth.jwks import MINUTE, KeysUnusable, PublishedKeys, public_keys
from service.gateway.auth.tokens import TokenVerifier
from tests.support.servers.key_provider import (
    AUDIENCE,
    ISSUER,
    Provider,
    ec,
    ed25519,
    provider,
    public,
    rsa,
    short_rsa,
    signed,
)

RSA, OTHER_RSA, EC, ED = rsa(), rsa("other"), ec(), ed25519()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def tokens(source: str, clock: Clock | None = None, algorithms: tuple[str, ...] = PUBLISHED) -> TokenVerifier:
    published = PublishedKeys(source, clock or Clock())
    return TokenVerifier(published, algorithms, issuer=ISSUER, audience=AUDIENCE, leeway=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_bytes(public(RSA, EC, ED))
    return tmp_path


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")], ids=lambda x: str(x)[:8]
)
async def test_a_token_by_a_published_key_lets_in(folder: Path, key: Key, alg: str) -> None:
    identity = await tokens(str(folder / "keys.json")).verify(signed(key, alg, scope="chat"))
    assert identity.user == "alice"
    assert identity.scopes == {"chat"}


def forged_with_the_public_key() -> str:
    """An HS256 token whose secret is the public RSA key (RFC 8725, 2.1)."""
    head, claims, _ = with_header(signed(RSA, "RS256"), alg="HS256").split(".")
    forged = hmac.digest(RSA.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    return f"{head}.{claims}.{_text(forged)}"


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def with_header(token: str, **fields: Any) -> str:
    head, rest = token.split(".", 1)
    known = json.loads(base64.urlsafe_b64decode(head + "=="))
    return f"{_text(json.dumps({**known, **fields}).encode())}.{rest}"


@pytest.mark.parametrize(
    "make",
    [
        forged_with_the_public_key,
        lambda: with_header(signed(RSA, "RS256"), alg="none").rsplit(".", 1)[0] + ".",
        lambda: with_header(signed(RSA, "RS256"), alg="None"),
        lambda: with_header(signed(RSA, "RS256"), kid="ec"),
        lambda: with_header(signed(RSA, "RS256"), kid=["rsa"]),
        lambda: with_header(signed(RSA, "RS256"), kid="../../dev/null"),
        lambda: with_header(signed(RSA, "RS256"), alg="ES256"),
        lambda: with_header(signed(RSA, "RS256"), jwk=OTHER_RSA.as_dict(private=False)),
        lambda: with_header(signed(RSA, "RS256"), jku="https://evil.example.com/keys"),
        lambda: with_header(signed(RSA, "RS256"), crit=["exp"]),
        lambda: with_header(signed(RSA, "RS256"), b64=False, crit=["b64"]),
        lambda: signed(OTHER_RSA, "RS256"),
        lambda: signed(RSAKey.import_key(OTHER_RSA.as_dict(private=True) | {"kid": "rsa"}), "RS256"),
        lambda: signed(RSA, "RS512"),
        lambda: signed(RSA, "PS256"),
        lambda: signed(ec("ec", "P-384"), "ES384"),
        lambda: signed(RSA, "RS256", iss=None),
        lambda: signed(RSA, "RS256", iss=ISSUER + "/"),
        lambda: signed(RSA, "RS256", aud=None),
        lambda: signed(RSA, "RS256", aud="another"),
        lambda: signed(RSA, "RS256", exp=None),
        lambda: signed(RSA, "RS256", sub=None),
        lambda: signed(EC, "ES256")[:-4],
        lambda: signed(EC, "ES256").rsplit(".", 1)[0] + "." + "A" * 86,  # r = s = 0 (CVE-2022-21449)
        lambda: signed(ED, "EdDSA") + "A",
    ],
    ids=itertools.count(),
)
async def test_what_no_published_key_signed_as_it_should_lets_nobody_in(folder: Path, make: Any) -> None:
    with pytest.raises(TokenInvalid):
        await tokens(str(folder / "keys.json")).verify(make())


async def test_a_token_without_a_key_id_is_good_where_one_key_alone_suits(tmp_path: Path) -> None:
    nameless = rsa(None)
    (tmp_path / "one.json").write_bytes(public(nameless, EC))
    (tmp_path / "two.json").write_bytes(public(nameless, OTHER_RSA))
    assert (await tokens(str(tmp_path / "one.json")).verify(_without_kid(nameless))).user == "alice"
    with pytest.raises(TokenInvalid):
        await tokens(str(tmp_path / "two.json")).verify(_without_kid(nameless))


def _without_kid(key: RSAKey) -> str:
    claims = {"sub": "alice", "exp": 4_000_000_000, "iss": ISSUER, "aud": AUDIENCE}
    return jwt.encode({"alg": "RS256"}, claims, key, ["RS256"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 7}',
        b'{"keys": []}',
        b'{"keys": [1, null]}',
        b'{"keys": [{"kty": "RSA"}]}',
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).encode(),
        json.dumps({"keys": [RSA.as_dict(private=False), {"kty": "oct", "k": "c2VjcmV0"}]}).encode(),
        json.dumps({"keys": [RSA.as_dict(private=True)]}).encode(),
        json.dumps({"keys": [RSA.as_dict(private=False) | {"use": "enc"}]}).encode(),
        json.dumps({"keys": [RSA.as_dict(private=False) | {"key_ops": ["encrypt"]}]}).encode(),
        public(short_rsa()),
    ],
)
def test_a_set_that_cannot_be_trusted_is_not_taken(content: bytes) -> None:
    with pytest.raises(KeysUnusable):
        public_keys(content)


def test_keys_of_a_kind_that_nobody_here_knows_are_left_out() -> None:
    entries = [
        {"kty": "AKP", "kid": "new"},
        RSA.as_dict(private=False),
        {"kty": "EC", "crv": "P-1", "kid": "odd"},
    ]
    assert [key.kid for key in public_keys(json.dumps({"keys": entries}).encode())] == ["rsa"]


async def test_a_new_key_is_asked_for_once_however_many_tokens_name_it() -> None:
    async with provider(RSA) as published:
        checked = tokens(published.url)
        assert (await checked.verify(signed(RSA, "RS256"))).user == "alice"
        published.content = public(RSA, EC)
        published.holding.clear()
        crowd = [asyncio.create_task(checked.verify(signed(EC, "ES256"))) for _ in range(20)]
        while published.asked < 2:
            await asyncio.sleep(0.01)
        published.holding.set()
        assert {identity.user for identity in await asyncio.gather(*crowd)} == {"alice"}
        assert published.asked == 2


async def test_unknown_key_flood_reaches_the_provider_twice_a_minute() -> None:
    clock = Clock()
    async with provider(RSA) as published:
        checked = tokens(published.url, clock)
        await checked.verify(signed(RSA, "RS256"))
        for number in range(50):
            with pytest.raises((TokenInvalid, Unavailable)):
                await checked.verify(with_header(signed(OTHER_RSA, "RS256"), kid=f"made-up-{number}"))
        assert published.asked <= 3
        assert (await checked.verify(signed(RSA, "RS256"))).user == "alice"
        published.content = public(RSA, EC)
        with pytest.raises(Unavailable):
            await checked.verify(signed(EC, "ES256"))
        clock.now += MINUTE
        assert (await checked.verify(signed(EC, "ES256"))).user == "alice"


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_the_old_keys_hold_while_the_provider_is_away(status: int) -> None:
    clock = Clock()
    async with provider(RSA) as published:
        checked = tokens(published.url, clock)
        await checked.verify(signed(RSA, "RS256"))
        published.status = status
        with pytest.raises(Unavailable):
            await checked.verify(signed(EC, "ES256"))
        assert (await checked.verify(signed(RSA, "RS256"))).user == "alice"
        published.status, published.content = 200, b"no keys"
        clock.now += MINUTE
        with pytest.raises(Unavailable):
            await checked.verify(signed(EC, "ES256"))
        assert (await checked.verify(signed(RSA, "RS256"))).user == "alice"


async def test_without_any_keys_nobody_is_called_a_forger() -> None:
    with pytest.raises(Unavailable):
        await tokens("http://127.0.0.1:1/keys").verify(signed(RSA, "RS256"))
    with pytest.raises(Unavailable):
        await tokens("/no/such/file").verify(signed(RSA, "RS256"))


async def test_a_set_of_any_length_is_not_read_to_its_end() -> None:
    async with provider(RSA) as published:
        published.content = b" " * (fetch.MAX_SIZE + 1)
        with pytest.raises(fetch.Unusable):
            await fetch.fetch(published.url)


async def test_a_provider_that_never_answers_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "READ_WITHIN", 0.2)
    async with provider(RSA) as published:
        published.holding.clear()
        with pytest.raises(Unavailable):
            await tokens(published.url).verify(signed(RSA, "RS256"))


async def test_keys_that_are_withdrawn_hold_no_longer_than_the_set_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks, "READ_AGAIN", 0.05)
    async with provider(RSA, EC) as published:
        source = PublishedKeys(published.url, asyncio.get_running_loop().time)
        checked = TokenVerifier(source, PUBLISHED, issuer=ISSUER, audience=AUDIENCE, leeway=0)
        running = asyncio.create_task(source.run())
        try:
            await _until_asked(published, 2)
            assert (await checked.verify(signed(EC, "ES256"))).user == "alice"
            published.content = public(RSA)
            await _until_asked(published, published.asked + 2)
            with pytest.raises((TokenInvalid, Unavailable)):
                await checked.verify(signed(EC, "ES256"))
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def _until_asked(published: Provider, times: int) -> None:
    async with asyncio.timeout(60):
        while published.asked < times:
            await asyncio.sleep(0.01)


def test_the_kinds_of_keys_are_those_of_the_algorithms() -> None:
    assert not jwks.suits(EC, "RS256")
    assert not jwks.suits(ec("x", "P-384"), "ES256")
    assert not jwks.suits(OKPKey.generate_key("X25519"), "EdDSA")
    assert jwks.suits(ED, "EdDSA")
    assert isinstance(EC, ECKey)
    bound = RSAKey.import_key(RSA.as_dict(private=False) | {"alg": "RS512"})
    assert not jwks.suits(bound, "RS256")
