"""Signing in at a real provider: what it gives is taken only where all of it is right."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from service.config.settings import PUBLISHED, Settings
from service.errors import (
    NotAllowed,
    OnRecordError,
    Overloaded,
    ProviderAhead,
    ProviderAway,
    SignInInvalid,
    SignInOver,
)
from service.gateway.auth import fetch, oidc
from service.gateway.auth.claims import ClaimRules
from service.gateway.auth.jwks import PublishedKeys
from service.gateway.auth.oidc import Begun, Oidc, SignedInAs
from service.gateway.auth.oidc_discovery import metadata_of
from service.gateway.auth.refresh_cookie import Renewable
from service.gateway.auth.tokens import TokenVerifier
from tests.support.servers.key_provider import ec, ed25519, rsa, signed
from tests.support.servers.oidc_provider import (
    AUDIENCE,
    CLIENT,
    EVERYTHING,
    OidcProvider,
    half_hash,
    oidc_provider,
)

RSA = rsa()
Claims = dict[str, Any]


@asynccontextmanager
async def signing_in(
    audience: str = AUDIENCE, rules: ClaimRules | None = None, **given: Any
) -> AsyncIterator[tuple[Oidc, OidcProvider]]:
    """Give a node's side and the provider's."""
    async with oidc_provider(**{"key": RSA, **given}) as provider:
        settings = Settings(
            jwt_issuer=provider.issuer,
            jwt_audience=audience,
            oidc_client_id=CLIENT,
            oidc_client_secret=provider.secret,
            oidc_redirect_uri=provider.redirect_uri,
        )
        keys = PublishedKeys(f"{provider.issuer}/keys", asyncio.get_running_loop().time)
        tokens = TokenVerifier(
            keys, PUBLISHED, issuer=provider.issuer, audience=audience, leeway=0, rules=rules
        )
        yield Oidc(settings, tokens), provider


async def code_for(address: str, user: str = "alice") -> str:
    """Return the authorization code after a sign-in at an address."""
    async with httpx.AsyncClient() as browser:
        page = await browser.get(address)
        assert page.status_code == 200, page.text
        back = await browser.post(address, data={"user": user})
    parameters = parse_qs(urlsplit(back.headers["location"]).query)
    assert parameters["state"] == parse_qs(urlsplit(address).query)["state"]
    return parameters["code"][0]


async def sign_in(node: Oidc) -> SignedInAs:
    address, begun = await node.begin()
    return await node.finish(begun, await code_for(address))


@pytest.mark.parametrize(
    ("audience", "key", "algorithm", "secret"),
    [
        (AUDIENCE, RSA, "RS256", ""),
        (AUDIENCE, RSA, "RS256", "a secret of the page"),
        (CLIENT, RSA, "RS256", ""),
        (CLIENT, ec(), "ES256", ""),
        (AUDIENCE, ed25519(), "EdDSA", ""),
    ],
)
async def test_whoever_signs_in_at_the_provider_has_a_token_for_the_doors(
    audience: str, key: Any, algorithm: str, secret: str
) -> None:
    async with signing_in(audience, key=key, algorithm=algorithm, secret=secret) as (node, _):
        identity, name, token, renewable = await sign_in(node)
        assert (identity.user, name, renewable) == ("alice", "Alice", None)
        assert await node._tokens.verify(token) == identity


async def test_what_is_asked_for_is_a_code_that_only_the_asker_can_use() -> None:
    async with signing_in() as (node, provider):
        (address, begun), (_, another) = await node.begin(), await node.begin()
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{provider.issuer}/authorize?")
    assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
    assert (asked["redirect_uri"], asked["scope"]) == (provider.redirect_uri, "openid profile")
    assert (asked["state"], asked["nonce"]) == (begun.state, begun.nonce)
    assert (asked["code_challenge_method"], len(asked["code_challenge"])) == ("S256", 43)
    assert begun.verifier not in address
    assert not set(begun) & set(another)


def claiming(**changed: Any) -> Callable[[Claims], Claims]:
    return lambda claims: claims | changed


@pytest.mark.parametrize(
    "spoil",
    [
        claiming(iss="https://id.example.com"),
        claiming(aud="another-page"),
        claiming(aud=[CLIENT, "another-page"], azp=None),
        claiming(azp="another-page"),
        claiming(nonce="of another sign-in"),
        claiming(nonce=None),
        claiming(exp=1),
        claiming(exp=None),
        claiming(iat=None),
        claiming(sub=None),
        claiming(sub="bob"),
        claiming(at_hash=half_hash("another token")),
    ],
)
async def test_an_id_token_that_is_not_for_this_sign_in_lets_nobody_in(
    spoil: Callable[[Claims], Claims],
) -> None:
    async with signing_in(spoil_id=spoil) as (node, _):
        with pytest.raises(SignInInvalid):
            await sign_in(node)


EARLY = claiming(nbf=4_070_908_800)


@pytest.mark.parametrize("ahead", [0, 0.9, 1.5, 3600])
async def test_an_id_token_issued_at_this_very_moment_is_good(ahead: float) -> None:
    async with signing_in(spoil_id=lambda claims: claims | {"iat": time.time() + ahead}) as (node, _):
        assert (await sign_in(node)).identity.user == "alice"


@pytest.mark.parametrize("spoiled", [{"spoil_id": EARLY}, {"spoil_access": EARLY}])
async def test_a_token_that_is_not_valid_yet_is_a_trouble_of_the_provider(spoiled: dict[str, Any]) -> None:
    async with signing_in(**spoiled) as (node, _):
        with pytest.raises(ProviderAhead) as refused:
            await sign_in(node)
        assert refused.value.retryable


async def test_the_user_claim_is_compared_where_subjects_differ_by_application() -> None:
    """As Microsoft Entra's do: `sub` is another one for the page and for the API."""
    rules = ClaimRules(user="oid", name="given.name")
    names = {"oid": "00000000-0000-0000", "given": {"name": "Alice L."}}
    page, api = claiming(**names, sub="-of-the-page"), claiming(oid="00000000-0000-0000", sub="_of-the-api")
    async with signing_in(rules=rules, spoil_id=page, spoil_access=api) as (node, _):
        signed_in = await sign_in(node)
        assert (signed_in.identity.user, signed_in.name) == ("00000000-0000-0000", "Alice L.")
    other = claiming(oid="ffffffff-0000-0000")
    async with signing_in(rules=rules, spoil_id=page, spoil_access=other) as (node, _):
        with pytest.raises(SignInInvalid, match="of different users"):
            await sign_in(node)


def resigned(make: Callable[[Claims], str]) -> Callable[[Claims], Claims]:
    """Spoil an answer by an id token of the same claims that is signed in another way."""

    def spoil(answer: Claims) -> Claims:
        payload = answer["id_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return answer | {"id_token": make(claims)}

    return spoil


def _by_hand(header: Claims, claims: Claims, sign: Callable[[bytes], bytes]) -> str:
    """Return a token that no library would make."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims)]
    parts.append(base64.urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"="))
    return b".".join(parts).decode()


def _unsigned(claims: Claims) -> str:
    return _by_hand({"alg": "none"}, claims, lambda _: b"")


def _by_the_public_key(claims: Claims) -> str:
    known_to_all = RSA.as_pem(private=False)
    header = {"alg": "HS256", "kid": RSA.kid}
    return _by_hand(header, claims, lambda signed: hmac.digest(known_to_all, signed, "sha256"))


@pytest.mark.parametrize(
    "make",
    [
        _unsigned,
        _by_the_public_key,
        lambda claims: signed(rsa(), "RS256", **claims),
        lambda _: "no token",
        lambda _: "x" * 10_000,
    ],
    ids=["unsigned", "by the public key as a secret", "by a stranger", "none", "too long"],
)
async def test_id_token_without_a_published_key_is_refused(
    make: Callable[[Claims], str],
) -> None:
    async with signing_in(spoil_answer=resigned(make)) as (node, _):
        with pytest.raises(SignInInvalid):
            await sign_in(node)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (claiming(aud="another service"), SignInInvalid),
        (claiming(iss="https://id.example.com"), SignInInvalid),
        (claiming(exp=1), SignInInvalid),
        (claiming(sub="bob"), SignInInvalid),
        (claiming(scope="openid"), NotAllowed),
    ],
)
async def test_an_access_token_that_is_not_for_the_doors_is_not_handed_out(
    spoil: Callable[[Claims], Claims], error: type[OnRecordError]
) -> None:
    unhashed = claiming(at_hash=None)
    async with signing_in(spoil_access=spoil, spoil_id=unhashed) as (node, _):
        with pytest.raises(error):
            await sign_in(node)


async def test_opaque_access_token_is_refused_for_connections() -> None:
    opaque, unhashed = claiming(access_token="opaque"), claiming(at_hash=None)
    async with signing_in(spoil_answer=opaque, spoil_id=unhashed) as (node, _):
        with pytest.raises(SignInInvalid):
            await sign_in(node)
    async with signing_in(CLIENT, spoil_answer=opaque, spoil_id=unhashed) as (node, _):
        assert (await sign_in(node)).identity.user == "alice"


async def test_a_code_is_good_once_and_for_whoever_began() -> None:
    async with signing_in() as (node, provider):
        address, begun = await node.begin()
        code = await code_for(address)
        with pytest.raises(SignInInvalid, match="not known"):
            await node.finish(Begun(begun.state, begun.nonce, "v" * 64), code)
        address, begun = await node.begin()
        code = await code_for(address)
        await node.finish(begun, code)
        with pytest.raises(SignInInvalid, match="not known"):
            await node.finish(begun, code)
        address, begun = await node.begin()
        code = await code_for(address)
        provider.grants[code].asked["redirect_uri"] += "/elsewhere"
        with pytest.raises(SignInInvalid, match="not known"):
            await node.finish(begun, code)
    async with signing_in(redirect_uri="http://localhost:8000/signin/callback") as (node, provider):
        address, _ = await node.begin()
        provider.redirect_uri = "http://localhost:8001/signin/callback"
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(address)).status_code == 400


@pytest.mark.parametrize(
    "spoil",
    [
        claiming(issuer="https://id.example.com"),
        claiming(token_endpoint="http://id.example.com/token"),
        claiming(revocation_endpoint="http://id.example.com/revoke"),
        claiming(authorization_endpoint="javascript:alert(1)"),
        claiming(token_endpoint=None),
        lambda _: {},
    ],
)
async def test_a_provider_that_says_what_cannot_be_of_itself_is_not_relied_on(
    spoil: Callable[[Claims], Claims],
) -> None:
    async with signing_in(spoil_metadata=spoil) as (node, _):
        with pytest.raises(ProviderAway):
            await node.begin()


async def test_a_provider_that_is_away_is_said_to_be_and_found_when_it_is_back() -> None:
    async with signing_in() as (node, provider):
        provider.broken = EVERYTHING
        with pytest.raises(ProviderAway):
            await node.begin()
        provider.broken = ()
        address, begun = await node.begin()
        code = await code_for(address)
        provider.broken = EVERYTHING
        with pytest.raises(ProviderAway):
            await node.finish(begun, code)
        assert (await node.begin())[0], "where to go was known"
        provider.broken = ()
        assert (await node.finish(begun, code)).identity.user == "alice"
    with pytest.raises(ProviderAway):
        await node.finish(begun, code)


@pytest.mark.parametrize(
    "spoil",
    [
        claiming(error="invalid_client"),
        claiming(error="what\nnobody knows"),
        claiming(error=7),
        claiming(id_token=7),
        lambda _: {},
    ],
)
async def test_an_answer_without_tokens_is_trouble_and_no_refusal(spoil: Callable[[Claims], Claims]) -> None:
    async with signing_in(spoil_answer=spoil) as (node, _):
        with pytest.raises(ProviderAway):
            await sign_in(node)


async def renewable(node: Oidc) -> Renewable:
    found = (await sign_in(node)).renewable
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("audience", "secret"), [(AUDIENCE, ""), (AUDIENCE, "a secret of the page"), (CLIENT, "")]
)
async def test_sign_in_renews_once_per_refresh_token(audience: str, secret: str) -> None:
    async with signing_in(audience, renewing=True, secret=secret) as (node, provider):
        first = await renewable(node)
        assert first[:2] == ("alice", "Alice")
        again = await node.renew(first)
        assert (again.identity.user, again.name) == ("alice", "Alice")
        assert await node._tokens.verify(again.token) == again.identity
        assert again.renewable is not None
        assert again.renewable.refresh_token != first.refresh_token
        provider.renewing = False
        kept = (await node.renew(again.renewable)).renewable
        assert kept == again.renewable, "a provider that gives no other goes on with the same"
        with pytest.raises(SignInOver):
            await node.renew(first)
        with pytest.raises(SignInOver):
            await node.renew(again.renewable)


@pytest.mark.parametrize(
    ("spoil", "audience", "error"),
    [
        ({"spoil_id": claiming(sub="bob")}, AUDIENCE, SignInInvalid),
        ({"spoil_id": claiming(iss="https://id.example.com")}, AUDIENCE, SignInInvalid),
        ({"spoil_id": claiming(aud="another-page")}, AUDIENCE, SignInInvalid),
        ({"spoil_access": claiming(sub="bob"), "spoil_id": claiming(at_hash=None)}, AUDIENCE, SignInInvalid),
        ({"spoil_access": claiming(exp=1), "spoil_id": claiming(at_hash=None)}, AUDIENCE, SignInInvalid),
        (
            {"spoil_access": claiming(scope="openid"), "spoil_id": claiming(at_hash=None)},
            AUDIENCE,
            NotAllowed,
        ),
        ({"spoil_answer": claiming(id_token=None)}, CLIENT, SignInInvalid),
        ({"spoil_answer": resigned(_unsigned)}, AUDIENCE, SignInInvalid),
        ({"spoil_answer": claiming(error="invalid_client")}, AUDIENCE, ProviderAway),
        ({"spoil_answer": lambda _: {}}, AUDIENCE, ProviderAway),
        ({"broken": EVERYTHING}, AUDIENCE, ProviderAway),
    ],
)
async def test_a_sign_in_is_renewed_with_nothing_that_would_not_have_begun_it(
    spoil: dict[str, Any], audience: str, error: type[OnRecordError]
) -> None:
    async with signing_in(audience, renewing=True) as (node, provider):
        kept = await renewable(node)
        for name, spoilt in spoil.items():
            setattr(provider, name, spoilt)
        with pytest.raises(error):
            await node.renew(kept)


async def test_an_id_token_may_be_missing_where_the_access_token_opens_the_doors() -> None:
    async with signing_in(renewing=True) as (node, provider):
        kept = await renewable(node)
        provider.spoil_answer = claiming(id_token=None)
        assert (await node.renew(kept)).name == "Alice"


async def test_ended_sign_in_is_not_renewed_and_an_outage_blocks_no_request() -> None:
    async with signing_in(renewing=True) as (node, provider):
        kept = await renewable(node)
        provider.broken = EVERYTHING
        await node.end(kept)
        provider.broken = ()
        kept = (await node.renew(kept)).renewable or kept
        await node.end(kept)
        with pytest.raises(SignInOver):
            await node.renew(kept)


async def test_a_provider_that_never_answers_holds_nobody_up_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)

    asked: list[asyncio.StreamWriter] = []
    monkeypatch.setattr(fetch, "READ_WITHIN", 0.3)
    async with signing_in() as (node, _), await asyncio.start_server(never, "127.0.0.1", 0) as server:
        node._discovery._issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        became = await asyncio.gather(*(node.begin() for _ in range(50)), return_exceptions=True)
        assert all(isinstance(one, ProviderAway) for one in became)
        assert len(asked) == 1
        for writer in asked:
            writer.close()


async def test_what_the_provider_says_of_itself_is_asked_for_once_in_a_while() -> None:
    async with signing_in() as (node, provider):
        await asyncio.gather(*(node.begin() for _ in range(20)))
        await node.begin()
        assert provider.asked == ["/.well-known/openid-configuration"]
        node._discovery._due_at = node._discovery._now()
        await asyncio.gather(*(node.begin() for _ in range(20)))
        assert len(provider.asked) == 2
        provider.broken, node._discovery._due_at = EVERYTHING, node._discovery._now()
        await asyncio.gather(*(node.begin() for _ in range(20)))
        assert len(provider.asked) == 3, "what it said before holds, and it is not asked by each"


async def test_a_node_asks_about_so_many_codes_at_once_and_no_more() -> None:
    async with signing_in() as (node, _):
        _, begun = await node.begin()
        became = await asyncio.gather(
            *(node.finish(begun, "made up") for _ in range(oidc.MOST_AT_ONCE + 5)), return_exceptions=True
        )
        assert sum(isinstance(one, Overloaded) for one in became) == 5
        assert sum(isinstance(one, SignInInvalid) for one in became) == oidc.MOST_AT_ONCE
        with pytest.raises(SignInInvalid):
            await node.finish(begun, "made up")


async def test_the_discovery_document_is_found_behind_an_issuer_with_a_slash() -> None:
    async with signing_in() as (_, provider):
        provider.spoil_metadata = claiming(issuer=f"{provider.issuer}/")
        assert (await metadata_of(f"{provider.issuer}/")).token_endpoint == f"{provider.issuer}/token"
