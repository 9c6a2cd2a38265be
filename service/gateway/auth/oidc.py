"""Signing in at the identity provider: OpenID Connect's code flow with PKCE, through Authlib.

The browser keeps state, nonce and verifier during the sign-in, and the refresh token afterwards
(`service.gateway.auth.refresh_cookie`). Nodes keep nothing, so that any node can finish a sign-in that another began.

Invariant: the settings alone decide what is trusted: issuer, source of the keys and algorithms. The id token is
verified with them, and the token for the chat is verified as at the endpoints.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import msgspec
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken

from service.config.settings import Settings
from service.errors import (
    Overloaded,
    ProviderAhead,
    ProviderAway,
    SignInInvalid,
    SignInOver,
    TokenExpired,
    TokenInvalid,
    TokenNotYetValid,
)
from service.gateway.auth.claims import CHAT
from service.gateway.auth.fetch import NOT_FETCHED, READ_WITHIN, tls
from service.gateway.auth.oidc_discovery import Discovery, Metadata
from service.gateway.auth.refresh_cookie import Renewable
from service.gateway.auth.token_times import UntimedClaims, check_times
from service.gateway.auth.tokens import Identity, TokenVerifier, translated_errors

MOST_AT_ONCE = 20
"""Codes and refresh tokens that one node sends to the provider at the same time."""

_ENTROPY = {"state": 32, "nonce": 32, "verifier": 64}
"""Characters of each secret; RFC 7636, 4.1 requires at least 43 for the verifier."""

_UNHASHED = ("EdDSA", "Ed25519")

_oauth_code = re.compile(r"[a-z_]{1,40}")
"""The form of an OAuth error code; any other text may be personal and is not logged."""

log = logging.getLogger("onrecord.signin")


class Begun(NamedTuple):
    """The secrets that a browser keeps during a sign-in."""

    state: str
    nonce: str
    verifier: str


class SignedInAs(NamedTuple):
    """The user, the display name, the token, and the refresh token if the provider issued one."""

    identity: Identity
    name: str
    token: str
    renewable: Renewable | None


class Oidc:
    """The identity provider's side of a sign-in."""

    def __init__(self, settings: Settings, tokens: TokenVerifier) -> None:
        self._settings = settings
        self._issuer = settings.jwt_issuer or ""
        self._tokens = tokens
        self._client = {
            "client_id": settings.oidc_client_id,
            "scope": " ".join(settings.oidc_scopes),
            "redirect_uri": settings.oidc_redirect_uri,
            "code_challenge_method": "S256",
        }
        self._discovery = Discovery(self._issuer)
        self._in_flight = 0

    async def begin(self) -> tuple[str, Begun]:
        """Return the provider's address for the sign-in, and the secrets that the browser keeps until it returns.

        Raises:
            ProviderAway: the provider cannot be reached.
        """
        metadata = await self._discovery.metadata()
        begun = Begun(**{name: generate_token(length) for name, length in _ENTROPY.items()})
        address, _ = OAuth2Client(None, **self._client).create_authorization_url(
            metadata.authorization_endpoint,
            state=begun.state,
            nonce=begun.nonce,
            code_verifier=begun.verifier,
        )
        return str(address), begun

    async def finish(self, begun: Begun, code: str) -> SignedInAs:
        """Return the user who returned with a code.

        Raises:
            SignInInvalid: the provider rejects the code, or its tokens are invalid.
            NotAllowed: the token does not grant chatting.
            ProviderAway: the provider cannot be reached.
            Overloaded: too many sign-ins wait for the provider.
        """
        with self._limited():
            response = await self._exchange(
                grant_type="authorization_code", code=code, code_verifier=begun.verifier
            )
            claims = await self._claims(response.id_token, response.access_token, begun.nonce)
            identity, token = await self._verify_chat_token(response, self._tokens.rules.user_of(claims))
        name = identity.name or self._tokens.rules.name_of(claims) or identity.user
        renewable = Renewable(identity.user, name, response.refresh_token) if response.refresh_token else None
        return SignedInAs(identity, name, token, renewable)

    async def renew(self, renewable: Renewable) -> SignedInAs:
        """Return the user of an earlier sign-in, with a new token.

        Raises:
            SignInOver: the provider no longer renews the sign-in.
            SignInInvalid: the provider's tokens are invalid, or another user's.
            NotAllowed: the token does not grant chatting.
            ProviderAway: the provider cannot be reached.
            Overloaded: too many sign-ins wait for the provider.
        """
        with self._limited():
            # Without a scope the granted one stays, which may be less than the settings request (RFC 6749, 6).
            response = await self._exchange(
                grant_type="refresh_token", refresh_token=renewable.refresh_token, scope=""
            )
            if response.id_token is not None:  # it may be missing (OpenID Connect Core 1.0, 12.2)
                claims = await self._claims(response.id_token, response.access_token, None)
                if self._tokens.rules.user_of(claims) != renewable.user:
                    raise TokenInvalid(problem="it names another user")
            identity, token = await self._verify_chat_token(response, renewable.user)
        # A provider that issues no new refresh token accepts the earlier one again (RFC 6749, 6).
        refresh_token = response.refresh_token or renewable.refresh_token
        name = identity.name or renewable.name
        return SignedInAs(identity, name, token, Renewable(identity.user, name, refresh_token))

    async def end(self, renewable: Renewable) -> None:
        """Revoke a refresh token at the provider (RFC 7009), if the provider supports that."""
        with suppress(ProviderAway, Overloaded), self._limited():
            metadata = await self._discovery.metadata()
            if metadata.revocation_endpoint is None:
                return
            try:
                async with asyncio.timeout(READ_WITHIN), self._oauth_client(metadata) as client:
                    await client.revoke_token(
                        metadata.revocation_endpoint, renewable.refresh_token, "refresh_token"
                    )
            except (OAuthError, *NOT_FETCHED) as error:
                self._away(error)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Limit concurrent requests to the provider, and translate their errors into those of a sign-in."""
        if self._in_flight >= MOST_AT_ONCE:
            raise Overloaded
        self._in_flight += 1
        try:
            yield
        except (TokenInvalid, TokenExpired) as error:
            if isinstance(error, SignInOver):
                raise
            problem = error.data.get("problem", "its token has expired already")
            raise SignInInvalid(problem=problem) from error
        except TokenNotYetValid as error:
            log.warning("signin_failed", extra={"problem": "the token is not valid yet; check the clocks"})
            raise ProviderAhead from error
        finally:
            self._in_flight -= 1

    async def _exchange(self, **grant: str) -> "_TokenResponse":
        metadata = await self._discovery.metadata()
        try:
            async with asyncio.timeout(READ_WITHIN), self._oauth_client(metadata) as client:
                answer = await client.fetch_token(metadata.token_endpoint, **grant)
            return msgspec.convert(dict(answer), _TokenResponse)
        except OAuthError as error:
            if error.error != "invalid_grant":
                raise self._away(error) from error
            if grant["grant_type"] == "refresh_token":
                raise SignInOver from error
            raise TokenInvalid(problem="the code is not known there, or was used before") from error
        # A document that is not JSON, or not of the expected form, is a `ValueError`.
        except (*NOT_FETCHED, ValueError) as error:
            raise self._away(error) from error

    async def _claims(self, id_token: str | None, access_token: str, nonce: str | None) -> dict[str, Any]:
        """Verify an id token (OpenID Connect Core 1.0, 3.1.3.7), and return its claims."""
        if id_token is None:
            raise TokenInvalid(problem="there is no id token in it")
        read = await self._tokens.read(id_token)
        # Authlib has no hash for these algorithms, and the check is optional in this flow (3.1.3.8).
        hashed = None if read.header["alg"] in _UNHASHED else access_token
        client_id = self._settings.oidc_client_id
        expected = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": client_id},
        }
        known = {"nonce": nonce, "client_id": client_id, "access_token": hashed}
        with translated_errors():
            _IdToken(read.claims, read.header, expected, known).validate()
        check_times(read.claims, time.time(), self._settings.jwt_leeway)
        return read.claims

    async def _verify_chat_token(self, response: "_TokenResponse", user: object) -> tuple[Identity, str]:
        """Verify the token for the chat as the endpoints do; return its identity and the token."""
        audience = self._settings.jwt_audience
        token = response.id_token if audience == self._settings.oidc_client_id else response.access_token
        if token is None:
            raise TokenInvalid(problem="there is no id token in it")
        identity = await self._tokens.verify(token)
        if identity.user != user:
            raise TokenInvalid(problem="its id token and its access token are of different users")
        identity.require(CHAT)
        return identity, token

    @asynccontextmanager
    async def _oauth_client(self, metadata: Metadata) -> AsyncIterator[AsyncOAuth2Client]:
        """Yield a client without cookies between users; redirects and proxies are off."""
        secret = self._settings.oidc_client_secret or None
        # Client authentication (RFC 6749, 2.3).
        known = metadata.token_endpoint_auth_methods_supported
        method = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        if secret is None:
            method = "none"
        async with AsyncOAuth2Client(
            **self._client,
            client_secret=secret,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
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


class _IdToken(CodeIDToken):  # type: ignore[misc] # the library has no types
    """The claims of an id token; `check_times` checks its times."""

    registry_cls = UntimedClaims


class _TokenResponse(msgspec.Struct, frozen=True):
    """The provider's answer to a code (OpenID Connect Core 1.0, 3.1.3.3) or a refresh token (12.2)."""

    access_token: str
    id_token: str | None = None
    refresh_token: str | None = None
