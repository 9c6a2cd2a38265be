"""What the doctor finds at an identity provider."""

from pathlib import Path

import pytest

from service.config.settings import Settings
from service.doctor import provider
from service.doctor.finding import Finding, Level
from tests.support.servers.key_provider import ec, public, rsa
from tests.support.servers.oidc_provider import oidc_provider


async def examine(source: str, *algorithms: str) -> Finding:
    (finding,) = await provider.examine(Settings(jwt_jwks=source, jwt_algorithms=algorithms))
    return finding


async def test_keys_that_let_people_in_are_well(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(public(rsa(), ec()))
    finding = await examine(str(tmp_path / "keys"))
    assert finding.level is Level.OK
    assert finding.words == "It publishes 2 keys; 2 of them suit the accepted algorithms."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "ONRECORD_JWT_JWKS cannot be used: it is no JWKS."),
        (
            b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
            "ONRECORD_JWT_JWKS cannot be used: it holds a secret.",
        ),
        (public(rsa()), "None of the provider's 1 keys suits ES256."),
    ],
)
async def test_keys_that_cannot_be_used_are_found(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "keys").write_bytes(content)
    finding = await examine(str(tmp_path / "keys"), "ES256")
    assert (finding.level, finding.words, finding.code) == (Level.FAIL, words, 1)


async def test_a_provider_that_is_away_is_found() -> None:
    finding = await examine("http://127.0.0.1:1/keys")
    assert (finding.level, finding.code) == (Level.FAIL, 3)


async def test_where_people_sign_in_is_looked_at_too() -> None:
    async with oidc_provider() as published:
        settings = Settings(
            jwt_jwks=f"{published.issuer}/keys", jwt_issuer=published.issuer, oidc_client_id="chat"
        )
        assert [one.level for one in await provider.examine(settings)] == [Level.OK, Level.OK]
        published.broken = ("/.well-known/openid-configuration",)
        assert [one.code for one in await provider.examine(settings)] == [0, 1]
        published.spoil_metadata, published.broken = lambda told: told | {"issuer": "https://x"}, ()
        finding = (await provider.examine(settings))[1]
        assert finding.words.endswith("cannot be used: it is of another issuer.")


async def test_who_checks_tokens_with_a_secret_needs_no_provider() -> None:
    assert await provider.examine(Settings()) == []
