"""Verifies tokens: a signed token (JWT, RFC 7519) names the user and its expiry.

Only the configured algorithms are accepted, regardless of the token's header (RFC 8725, 3.1). `sub` and `exp` are
required; `iss` and `aud` too if they are configured. A token is never part of a URL.

Of a token that was valid, only the times are checked when its client comes back, and whether its key is still the one
that its header names.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError, DecodeError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry, extract_compact
from joserfc.util import urlsafe_b64decode

from service.errors import NotAllowed, TokenInvalid
from service.gateway.auth.claims import CHAT, ClaimRules, require_issuer
from service.gateway.auth.jwks import SharedSecret, VerificationKeys
from service.gateway.auth.token_times import UntimedClaims, as_datetime, check_times, issued_at
from service.protocol.strict_json import shortened

MAX_TOKEN = 8_192
"""Characters of a token; a longer one is not parsed."""

MOST_HEADERS = 64
"""Cached headers of tokens; tokens that one key has signed share a header."""

MOST_VERIFIED = 4_096
"""Tokens that are not verified again when their client comes back, about 0.5 KiB each."""

TIMES = ("exp", "nbf", "iat")

PARTS = 3
"""Parts of a token between its dots."""


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


class _Header(NamedTuple):
    """What a checked header says; `plain` if it changes nothing about how a token is read."""

    fields: dict[str, Any]
    algorithm: str
    key_id: str | None
    plain: bool


class _Verified(NamedTuple):
    """What a token that is valid but for its times proves, for as long as its key is the one that the header names.

    Keys that are published anew are other objects, so after a rotation each token is verified again.
    """

    named: tuple[str, str | None]
    """The algorithm and the key id."""
    key: Key
    times: dict[str, Any]
    identity: Identity


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
        self._headers: dict[str, _Header] = {}
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        """By SHA-256, so that the node's memory holds no token."""
        self._claims = self._claims_registry()

    async def verify(self, token: str) -> Identity:
        """Return the user of a token.

        Raises:
            TokenInvalid: the token is malformed, not signed by a known key, or lacks a required claim.
            TokenExpired: `exp` has passed.
            TokenNotYetValid: `nbf` has not come.
            Unavailable: the key cannot be fetched now.
        """
        # A token that is too long is none of those that are known.
        digest = sha256(token[: MAX_TOKEN + 1].encode(errors="surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is None or await self._keys.find(*known.named) is not known.key:
            known = await self._verify(token)
            self._verified[digest] = known
            if len(self._verified) > MOST_VERIFIED:
                self._verified.popitem(last=False)
        else:
            check_times(known.times, time.time(), self._leeway)
            self._verified.move_to_end(digest)
        return known.identity

    async def _verify(self, token: str) -> "_Verified":
        read, key = await self._read(token)
        claims = read.claims
        require_issuer(claims.get("iss"), self._issuer)
        with translated_errors():
            self._claims.validate(claims)
        check_times(claims, time.time(), self._leeway)
        identity = Identity(
            self.rules.user_of(claims),
            self.rules.name_of(claims),
            as_datetime(claims["exp"], self._leeway),
            self.rules.scopes_of(claims),
            issued_at(claims),
            self.rules.chat_word,
        )
        times = {name: claims[name] for name in TIMES if name in claims}
        header = self._header(token)
        return _Verified((header.algorithm, header.key_id), key, times, identity)

    async def read(self, token: str) -> jwt.Token:
        """Return the claims of a token with a valid signature, for any issuer and audience.

        Raises:
            TokenInvalid: the signature is invalid.
            Unavailable: the key cannot be fetched now.
        """
        return (await self._read(token))[0]

    async def _read(self, token: str) -> tuple[jwt.Token, Key]:
        if len(token) > MAX_TOKEN:
            raise TokenInvalid(problem="it is too long")
        if token[:7].lower() == "bearer ":
            raise TokenInvalid(
                problem="it begins with Bearer, which belongs in the header Authorization alone"
            )
        with translated_errors():
            header = self._header(token)
            key = await self._keys.find(header.algorithm, header.key_id)
            claims = self._claims_of(token, header, key)
            if claims is None:
                return jwt.decode(token, key, registry=self._registry), key
            return jwt.Token(header.fields, claims), key

    def _claims_of(self, token: str, header: "_Header", key: Key) -> dict[str, Any] | None:
        """Return the claims of a signed token without reading its header, which is known, a second time.

        None if something about the token is unusual: the library's decoder reads it then, or says what is wrong.

        Raises:
            JoseError: the signature is invalid.
        """
        parts = token.encode().split(b".")
        if not header.plain or len(parts) != PARTS or len(parts[2]) > self._registry.max_signature_length:
            return None
        try:
            payload, signature = urlsafe_b64decode(parts[1]), urlsafe_b64decode(parts[2])
        except ValueError:
            return None
        algorithm = self._registry.get_alg(header.algorithm)
        algorithm.check_key(key)
        if not algorithm.verify(b".".join(parts[:2]), signature, key):
            raise BadSignatureError
        with suppress(ValueError):
            if isinstance(claims := json.loads(payload), dict):
                return claims
        return None

    def _header(self, token: str) -> "_Header":
        """Return what the header of a token says; the decoder checks the rest.

        Raises:
            JoseError, ValueError: it is no token, or its algorithm is not allowed.
        """
        first = token.partition(".")[0]
        if (known := self._headers.get(first)) is None:
            header = extract_compact(token.encode()).headers()
            self._registry.check_header(header)
            key_id = header.get("kid")
            known = _Header(
                header,
                self._registry.get_alg(header["alg"]).name,
                key_id if isinstance(key_id, str) else None,
                plain=not header.keys() & {"crit", "b64"},
            )
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
        if isinstance(error, DecodeError):
            problem += " (a signed token has three parts of letters, digits, - and _, with dots between them)"
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
