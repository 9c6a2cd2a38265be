"""Verifies tokens: a signed token (JWT, RFC 7519) names the user and its expiry.

Only the configured algorithms are accepted, regardless of the token's header (RFC 8725, 3.1). `sub` and `exp` are
required; `iss` and `aud` too if they are configured. A token is never part of a URL.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, extract_compact

from service.errors import NotAllowed, TokenInvalid
from service.gateway.auth.jwks import SharedSecret, VerificationKeys
from service.gateway.auth.token_times import as_datetime, check_times
from service.protocol.commands import USER_ID
from service.protocol.strict_json import shortened

MAX_TOKEN = 8_192
"""Characters of a token; a longer one is not parsed."""

MOST_HEADERS = 64
"""Cached headers of tokens; tokens that one key has signed share a header."""

MAX_NAME = 100
"""Code points of a display name; a longer one is cut."""

CHAT, AUDITOR, ADMIN = "chat", "auditor", "admin"
"""The scopes. None implies another: an administrator cannot read the record, an auditor cannot chat."""

_user_id = re.compile(USER_ID)


class Identity(msgspec.Struct, frozen=True):
    """The user of a token; `name` is None if the token has none. `scopes` is what it grants."""

    user: str
    name: str | None
    expires_at: datetime
    scopes: frozenset[str] = frozenset()

    def require(self, scope: str) -> None:
        """Raise unless the token grants a scope.

        Raises:
            NotAllowed: the token does not grant it.
        """
        if scope not in self.scopes:
            raise NotAllowed(problem=f"This needs a token with the scope {scope}.")


def _without_warning(name: str) -> Any:
    """Return an algorithm without the warning of the library that it is deprecated."""
    algorithm = copy(JWSRegistry.algorithms[name])
    algorithm.security_warning = None
    return algorithm


class _Algorithms(JWSRegistry):
    # Providers still use the name EdDSA. `suits` allows only Ed25519 keys with it, so it is unambiguous (RFC 9864).
    algorithms = {**JWSRegistry.algorithms, "EdDSA": _without_warning("EdDSA")}  # noqa: RUF012 - as the library has it


class _Claims(jwt.JWTClaimsRegistry):
    """The claims without the times: the library compares whole seconds, and refuses an `iat` that is ahead."""

    def validate_exp(self, value: object) -> None: ...
    def validate_nbf(self, value: object) -> None: ...
    def validate_iat(self, value: object) -> None: ...


class TokenVerifier:
    """Verifies tokens by the `keys` and the allowed `algorithms`; times may be `leeway` seconds off."""

    def __init__(
        self,
        keys: VerificationKeys,
        algorithms: Sequence[str],
        *,
        issuer: str | None,
        audience: str | None,
        leeway: float,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        # `registry=` silently overrides `algorithms=` in joserfc, so the list is passed here only.
        self._registry = _Algorithms(algorithms=list(algorithms))
        self._headers: dict[str, tuple[str, str | None]] = {}
        self._claims = self._claims_registry()

    async def verify(self, token: str) -> Identity:
        """Return the user of a token.

        Raises:
            TokenInvalid: the token is malformed, not signed by a known key, or lacks a required claim.
            TokenExpired: `exp` has passed.
            TokenNotYetValid: `nbf` has not come.
            Unavailable: the key cannot be fetched now.
        """
        decoded = await self.read(token)
        with translated_errors():
            self._claims.validate(decoded.claims)
        check_times(decoded.claims, time.time(), self._leeway)
        return _identity(decoded.claims, self._leeway)

    async def read(self, token: str) -> jwt.Token:
        """Return the claims of a token with a valid signature, for any issuer and audience.

        Raises:
            TokenInvalid: the signature is invalid.
            Unavailable: the key cannot be fetched now.
        """
        if len(token) > MAX_TOKEN:
            raise TokenInvalid(problem="it is too long")
        with translated_errors():
            algorithm, key_id = self._header(token)
            key = await self._keys.find(algorithm, key_id)
            return jwt.decode(token, key, registry=self._registry)

    def _header(self, token: str) -> tuple[str, str | None]:
        """Return the algorithm and the key id that a token names; the decoder checks the rest.

        Raises:
            JoseError, ValueError: it is no token, or its algorithm is not allowed.
        """
        first = token.partition(".")[0]
        if (known := self._headers.get(first)) is None:
            header = extract_compact(token.encode()).headers()
            self._registry.check_header(header)
            key_id = header.get("kid")
            known = self._registry.get_alg(header["alg"]).name, key_id if isinstance(key_id, str) else None
            if len(self._headers) >= MOST_HEADERS:
                self._headers.clear()
            self._headers[first] = known
        return known

    def sign(self, user: str, name: str | None, lifetime: float) -> str:
        """Return a token of a user that is valid for `lifetime` seconds; for development only.

        Raises:
            TypeError: an identity provider signs the tokens.
        """
        if not isinstance(self._keys, SharedSecret):
            raise TypeError("only a shared secret can sign tokens")
        now = int(time.time())
        claims: dict[str, object] = {"sub": user, "iat": now, "exp": now + int(lifetime), "scope": "chat"}
        claims |= {"name": name} if name else {}
        claims |= {"iss": self._issuer} if self._issuer else {}
        claims |= {"aud": self._audience} if self._audience else {}
        return jwt.encode({"alg": "HS256"}, claims, self._keys.key, registry=self._registry)

    def _claims_registry(self) -> "_Claims":
        options: dict[str, Any] = {"sub": {"essential": True}, "exp": {"essential": True}}
        if self._issuer:
            options["iss"] = {"essential": True, "value": self._issuer}
        if self._audience:
            options["aud"] = {"essential": True, "value": self._audience}
        return _Claims(**options)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate the errors of the JWT libraries.

    Raises:
        TokenInvalid: the token is malformed or not signed by a known key.
    """
    try:
        yield
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise TokenInvalid(
            problem=shortened(str(error).strip().rstrip(".")) or type(error).__name__
        ) from error


def bearer(header: str | None) -> str | None:
    """Return the token in an `Authorization` header (RFC 6750, section 2.1), or None."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _identity(claims: dict[str, Any], leeway: float) -> Identity:
    user = claims["sub"]
    if not isinstance(user, str) or not _user_id.match(user):
        raise TokenInvalid(problem="its sub is no user id")
    expires_at = as_datetime(claims["exp"], leeway)
    return Identity(user, display_name(claims.get("name")), expires_at, _scopes(claims.get("scope")))


def _scopes(claim: object) -> frozenset[str]:
    """Return the scopes that the claim names (RFC 8693, 4.2); a token without the claim grants chatting."""
    if claim is None:
        return frozenset({CHAT})
    return frozenset(claim.split()) if isinstance(claim, str) else frozenset()


def display_name(claim: object) -> str | None:
    """Return the name in a claim, cut to `MAX_NAME`; None if it cannot be shown or stored."""
    if not isinstance(claim, str):
        return None
    name = claim.strip()[:MAX_NAME]
    if "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
        return None
    return name or None
