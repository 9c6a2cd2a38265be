"""Verifies tokens: a signed token (JWT, RFC 7519) names the user and its expiry.

Only the configured algorithms are accepted, regardless of the token's header (RFC 8725, 3.1). `sub` and `exp` are
required; `iss` and `aud` too if they are configured. A token is never part of a URL.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import InvalidClaimError, JoseError, MissingClaimError
from joserfc.jws import JWSRegistry, extract_compact

from service.errors import NotAllowed, TokenInvalid
from service.gateway.auth.claims import CHAT, ClaimRules
from service.gateway.auth.jwks import SharedSecret, VerificationKeys
from service.gateway.auth.token_times import UntimedClaims, as_datetime, check_times, issued_at
from service.protocol.strict_json import shortened

MAX_TOKEN = 8_192
"""Characters of a token; a longer one is not parsed."""

MOST_HEADERS = 64
"""Cached headers of tokens; tokens that one key has signed share a header."""


class Identity(msgspec.Struct, frozen=True):
    """The user of a token; `name` is None if the token has none. `scopes` is what it grants.

    `issued_at` is its `iat`; None if it has none.
    """

    user: str
    name: str | None
    expires_at: datetime
    scopes: frozenset[str] = frozenset()
    issued_at: datetime | None = None
    chat_word: str = CHAT
    """The word of the provider that grants `chat`, for the error."""

    def require(self, scope: str) -> None:
        """Raise unless the token grants a scope.

        Raises:
            NotAllowed: the token does not grant it.
        """
        if scope not in self.scopes:
            word = self.chat_word if scope == CHAT else scope
            raise NotAllowed(problem=f"This needs a token with the scope {word}.")


def _without_warning(name: str) -> Any:
    """Return an algorithm without the warning of the library that it is deprecated."""
    algorithm = copy(JWSRegistry.algorithms[name])
    algorithm.security_warning = None
    return algorithm


class _Algorithms(JWSRegistry):
    # Providers still use the name EdDSA. `suits` allows only Ed25519 keys with it, so it is unambiguous (RFC 9864).
    algorithms = {**JWSRegistry.algorithms, "EdDSA": _without_warning("EdDSA")}  # noqa: RUF012 - as the library has it


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
        rules: ClaimRules | None = None,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self.rules = rules or ClaimRules()
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
        self._require_issuer(decoded.claims.get("iss"))
        with translated_errors():
            self._claims.validate(decoded.claims)
        check_times(decoded.claims, time.time(), self._leeway)
        return Identity(
            self.rules.user_of(decoded.claims),
            self.rules.name_of(decoded.claims),
            as_datetime(decoded.claims["exp"], self._leeway),
            self.rules.scopes_of(decoded.claims),
            issued_at(decoded.claims),
            self.rules.chat_word,
        )

    def _require_issuer(self, issuer: object) -> None:
        """Name both values of an issuer that differs, such as by a slash at its end.

        Raises:
            TokenInvalid: the issuer is another than the expected one.
        """
        if self._issuer and isinstance(issuer, str) and issuer != self._issuer:
            # Nothing of the token is logged but what it shares with the setting.
            near = (
                "; it differs by a slash at its end" if issuer.rstrip("/") == self._issuer.rstrip("/") else ""
            )
            raise TokenInvalid(
                problem=shortened(f"its iss is {issuer}, and {self._issuer} is expected"),
                logged=f"invalid_claim: Invalid claim: 'iss': {self._issuer} is expected{near}",
            )

    async def read(self, token: str) -> jwt.Token:
        """Return the claims of a token with a valid signature, for any issuer and audience.

        Raises:
            TokenInvalid: the signature is invalid.
            Unavailable: the key cannot be fetched now.
        """
        if len(token) > MAX_TOKEN:
            raise TokenInvalid(problem="it is too long")
        if token[:7].lower() == "bearer ":
            raise TokenInvalid(
                problem="it begins with Bearer, which belongs in the header Authorization alone"
            )
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
        claims = self.rules.claims_for(user, name, [CHAT]) | {"iat": now, "exp": now + int(lifetime)}
        claims |= {"iss": self._issuer} if self._issuer else {}
        claims |= {"aud": self._audience} if self._audience else {}
        return jwt.encode({"alg": "HS256"}, claims, self._keys.key, registry=self._registry)

    def _claims_registry(self) -> UntimedClaims:
        options: dict[str, Any] = {"exp": {"essential": True}}
        if self.rules.user == "sub":
            options["sub"] = {"essential": True}
        if self._issuer:
            options["iss"] = {"essential": True, "value": self._issuer}
        if self._audience:
            options["aud"] = {"essential": True, "value": self._audience}
        return UntimedClaims(**options)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate the errors of the JWT libraries.

    Raises:
        TokenInvalid: the token is malformed or not signed by a known key.
    """
    try:
        yield
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        problem = shortened(str(error).rstrip(" .:")) or type(error).__name__
        # The message of a library may repeat parts of the token, so the log gets `logged` instead.
        raise TokenInvalid(problem=problem, logged=_loggable(error)) from error


def _loggable(error: Exception) -> str:
    """Return what may be logged of a library's error: its message only if it names a claim, otherwise its kind."""
    if isinstance(error, InvalidClaimError | MissingClaimError):
        return str(error)
    return error.error if isinstance(error, JoseError) else type(error).__name__


def bearer(header: str | None) -> str | None:
    """Return the token in an `Authorization` header (RFC 6750, section 2.1), or None."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
