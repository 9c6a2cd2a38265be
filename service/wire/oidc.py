"""How people sign in at the identity provider: OpenID Connect's code flow with PKCE, through Authlib.

What belongs together over the way there and back (state, nonce, verifier) is kept by the browser, so that any node can
finish what another began, and nothing is kept here.

The rule: nothing that the provider publishes decides what is trusted. Its issuer, its keys and the algorithms are those
of the settings; the id token is checked by them, and the token that comes out as every token is at the doors.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken

from service.errors import Overloaded, ProviderAway, SignInInvalid, TokenExpired, TokenInvalid
from service.settings import Settings
from service.values import is_safe
from service.wire.auth import CHAT, Identity, Tokens, refusing, shown_name
from service.wire.fetching import NOT_FETCHED, READ_WITHIN, Unusable, fetch, tls

READ_AGAIN = 600.0
"""Seconds for which what the provider says of itself counts as new."""

MOST_AT_ONCE = 20
"""Codes that one node has the provider look at at a time."""

_ENTROPY = {"state": 32, "nonce": 32, "verifier": 64}
"""Letters and digits of each; RFC 7636, 4.1 wants 43 of the verifier at least."""

_UNHASHED = ("EdDSA", "Ed25519")

_oauth_code = re.compile(r"[a-z_]{1,40}")
"""What an error of OAuth is called; what is not like that may be anybody's words, and is not logged."""

log = logging.getLogger("onrecord.signin")


class Metadata(msgspec.Struct, frozen=True):
    """What a provider says of itself (OpenID Connect Discovery 1.0, 3), as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Begun(NamedTuple):
    """What a browser keeps while it is at the provider."""

    state: str
    nonce: str
    verifier: str


class SignedInAs(NamedTuple):
    """Who signed in, what they are called, and their token."""

    identity: Identity
    name: str
    token: str


class Oidc:
    """The identity provider, as those who sign in meet it."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._settings = settings
        self._issuer = settings.jwt_issuer or ""
        self._tokens = tokens
        self._client = {
            "client_id": settings.oidc_client_id,
            "scope": " ".join(settings.oidc_scopes),
            "redirect_uri": settings.oidc_redirect_uri,
            "code_challenge_method": "S256",
        }
        self._now = asyncio.get_running_loop().time
        self._loading = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._tried_at = self._due_at = float("-inf")
        self._under_way = 0

    async def begin(self) -> tuple[str, Begun]:
        """Return the address to sign in at, and what to keep for the way back.

        Raises:
            ProviderAway: the provider cannot be asked where that is.
        """
        metadata = await self._provider()
        begun = Begun(**{name: generate_token(length) for name, length in _ENTROPY.items()})
        address, _ = OAuth2Client(None, **self._client).create_authorization_url(
            metadata.authorization_endpoint,
            state=begun.state,
            nonce=begun.nonce,
            code_verifier=begun.verifier,
        )
        return str(address), begun

    async def finish(self, begun: Begun, code: str) -> SignedInAs:
        """Return who came back with a code.

        Raises:
            SignInInvalid: the provider does not know the code, or its tokens are not what they have to be.
            NotAllowed: their token is none to chat with.
            ProviderAway, Overloaded: that cannot be told now.
        """
        if self._under_way >= MOST_AT_ONCE:
            raise Overloaded
        self._under_way += 1
        try:
            given = await self._exchange(begun, code)
            return await self._judge(begun, given)
        except (TokenInvalid, TokenExpired) as error:
            problem = error.data.get("problem", "its token has expired already")
            log.warning("signin_refused", extra={"problem": str(problem)[:100]})
            raise SignInInvalid(problem=problem) from error
        finally:
            self._under_way -= 1

    async def _exchange(self, begun: Begun, code: str) -> "_Given":
        metadata = await self._provider()
        try:
            async with asyncio.timeout(READ_WITHIN), self._asking(metadata) as client:
                answer = await client.fetch_token(
                    metadata.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=begun.verifier,
                )
            return msgspec.convert(dict(answer), _Given)
        except OAuthError as error:
            if error.error == "invalid_grant":
                raise TokenInvalid(problem="the code is not known there, or was used before") from error
            raise self._away(error) from error
        # What is no JSON, or not what it should be, is a `ValueError`.
        except (*NOT_FETCHED, ValueError) as error:
            raise self._away(error) from error

    async def _judge(self, begun: Begun, given: "_Given") -> SignedInAs:
        """Check the id token (OpenID Connect Core 1.0, 3.1.3.7), and then the token that is for the doors."""
        read = await self._tokens.read(given.id_token)
        # Authlib knows no hash for these; and in this flow the check may be left out (3.1.3.8).
        hashed = None if read.header["alg"] in _UNHASHED else given.access_token
        client_id = self._settings.oidc_client_id
        expected = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": client_id},
        }
        known = {"nonce": begun.nonce, "client_id": client_id, "access_token": hashed}
        with refusing():
            CodeIDToken(read.claims, read.header, expected, known).validate(leeway=self._settings.jwt_leeway)
        token = given.id_token if self._settings.jwt_audience == client_id else given.access_token
        identity = await self._tokens.verify(token)
        if identity.user != read.claims["sub"]:
            raise TokenInvalid(problem="its two tokens speak for two people")
        identity.require(CHAT)
        name = identity.name or shown_name(read.claims.get("name")) or identity.user
        return SignedInAs(identity, name, token)

    async def _provider(self) -> Metadata:
        """Return what the provider says of itself; what it said before holds while it is away."""
        asked = self._now()
        async with self._loading:
            # Whoever waited here takes what came of it: a provider that does not answer holds nobody up twice.
            if self._tried_at < asked and self._now() >= self._due_at:
                await self._load()
        if self._metadata is None:
            raise ProviderAway
        return self._metadata

    async def _load(self) -> None:
        try:
            self._metadata = await metadata_of(self._issuer)
        except (Unusable, *NOT_FETCHED) as error:
            self._away(error)
        self._tried_at = self._now()
        self._due_at = self._tried_at + (READ_AGAIN if self._metadata is not None else 0)

    @asynccontextmanager
    async def _asking(self, metadata: Metadata) -> AsyncIterator[AsyncOAuth2Client]:
        """Give a client that keeps nothing of one person for the next; neither redirects nor proxies count."""
        async with AsyncOAuth2Client(
            **self._client,
            client_secret=self._settings.oidc_client_secret or None,
            token_endpoint_auth_method=_authenticating(self._settings, metadata),
            verify=tls(),
            timeout=READ_WITHIN,
            follow_redirects=False,
            trust_env=False,
        ) as client:
            yield client

    def _away(self, error: Exception) -> ProviderAway:
        code = str(error.error) if isinstance(error, OAuthError) else ""
        log.warning("signin_failed", extra={"problem": code if _oauth_code.fullmatch(code) else error})
        return ProviderAway()


class _Given(msgspec.Struct, frozen=True):
    """What the provider gives for a code (OpenID Connect Core 1.0, 3.1.3.3)."""

    id_token: str
    access_token: str


async def metadata_of(issuer: str) -> Metadata:
    """Return what a provider says of itself.

    Raises:
        Unusable: it says what cannot be, or what must not be relied on.
        httpx2.HTTPError, OSError: it does not answer.
    """
    text = await fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    try:
        metadata = msgspec.json.decode(text, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable("it is no discovery document") from error
    if metadata.issuer != issuer:
        raise Unusable("it is of another issuer")
    if not (is_safe(metadata.authorization_endpoint) and is_safe(metadata.token_endpoint)):
        raise Unusable("its endpoints are not https")
    return metadata


def _authenticating(settings: Settings, metadata: Metadata) -> str:
    """Return how the page says who it is (RFC 6749, 2.3)."""
    if not settings.oidc_client_secret:
        return "none"
    known = metadata.token_endpoint_auth_methods_supported
    return "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
