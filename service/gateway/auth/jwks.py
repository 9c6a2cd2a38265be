"""The keys that verify tokens: one shared secret, or the published keys of an identity provider.

A set of published keys (JWKS, RFC 7517) comes from a URL or a file and is read again every `READ_AGAIN` seconds. A
token with an unknown key id makes the node read the set at once, at most `MOST_UNKNOWN` times a minute, so that clients
cannot make this node flood the provider. While the provider is away, the last keys stay valid.

Invariant: a set is accepted whole or not at all, and a secret in a set of published keys makes it unusable (RFC 8725,
2.1): a client cannot choose the kind of key that verifies its token.
"""

import asyncio
import json
import logging
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key

from service.errors import TokenInvalid, Unavailable
from service.gateway.auth.fetch import NOT_FETCHED, Unusable, fetch

READ_AGAIN = 600.0
"""Seconds for which a set of keys counts as fresh."""

TRY_AGAIN = 15.0
"""Seconds until the provider is asked again after it did not answer."""

MOST_UNKNOWN, MINUTE = 2, 60.0
"""Reads of the set that unknown key ids may cause, and the seconds in which they are counted."""

SHORTEST_RSA = 2048
"""Bits (RFC 7518, 3.3)."""

log = logging.getLogger("onrecord.keys")


class KeysUnusable(Unusable):
    """The document is no key set, or contains a secret."""


class VerificationKeys(Protocol):
    """The source of the key that verifies a token."""

    async def find(self, algorithm: str, key_id: str | None) -> Key:
        """Return the key that a token names.

        Raises:
            TokenInvalid: there is no such key.
            Unavailable: the provider cannot be asked now.
        """


class SharedSecret:
    """One secret that the signer of tokens shares with this server (HS256)."""

    def __init__(self, secret: str) -> None:
        self.key = OctKey.import_key(secret)

    async def find(self, algorithm: str, key_id: str | None) -> Key:  # noqa: ARG002 - there is one key
        """See `VerificationKeys`."""
        return self.key


class PublishedKeys:
    """The published keys of an identity provider; `clock` gives seconds."""

    def __init__(self, source: str, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._keys: list[Key] | None = None
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._unplanned: deque[float] = deque(maxlen=MOST_UNKNOWN)

    async def find(self, algorithm: str, key_id: str | None) -> Key:
        """See `VerificationKeys`."""
        if (known := self._pick(algorithm, key_id)) is not None:
            return known
        asked = self._clock()
        async with self._reading:
            # Another task may have read the set during the wait.
            if self._read_at < asked and self._pick(algorithm, key_id) is None:
                await self._read_unplanned()
        if (published := self._pick(algorithm, key_id)) is not None:
            return published
        if self._read_at < asked:
            raise Unavailable
        raise TokenInvalid(problem="its key is not one of the provider's")

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            async with self._reading:
                read = await self._read()
            await asyncio.sleep(READ_AGAIN if read else TRY_AGAIN)

    async def _read_unplanned(self) -> None:
        """Read the keys because of an unknown key id, unless the limit of such reads is reached."""
        now = self._clock()
        if len(self._unplanned) < MOST_UNKNOWN or now - self._unplanned[0] >= MINUTE:
            self._unplanned.append(now)
            await self._read()

    async def _read(self) -> bool:
        began = self._clock()
        try:
            keys = public_keys(await fetch(self._source))
        except (Unusable, *NOT_FETCHED) as problem:
            described = str(problem) if isinstance(problem, Unusable) else problem
            log.warning("jwks_failed", extra={"problem": described, "kept": len(self._keys or ())})
            return False
        if self._keys is None or [key.kid for key in keys] != [key.kid for key in self._keys]:
            log.info("jwks_read", extra={"keys": len(keys)})
        self._keys = keys
        self._read_at = began
        return True

    def _pick(self, algorithm: str, key_id: str | None) -> Key | None:
        suiting = [key for key in self._keys or () if suits(key, algorithm)]
        if key_id is None:  # a provider with one key may omit its id (RFC 7517)
            return suiting[0] if len(suiting) == 1 else None
        return next((key for key in suiting if key.kid == key_id), None)


def public_keys(text: bytes) -> list[Key]:
    """Return the keys in a JWKS that can verify signatures; keys of unsupported kinds are left out.

    Raises:
        KeysUnusable: the document is no JWKS, or it holds a secret.
    """
    try:
        entries = json.loads(text)["keys"]
        given = [entry for entry in entries if isinstance(entry, dict)]
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise KeysUnusable("it is no JWKS") from problem
    if any(entry.get("kty") == "oct" or "d" in entry for entry in given):
        raise KeysUnusable("it holds a secret")
    keys = [key for entry in given if (key := _public_key(entry)) is not None]
    if not keys:
        raise KeysUnusable("it holds no key that can check a signature")
    return keys


def _public_key(entry: dict[str, Any]) -> Key | None:
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # the size of the key is checked below
            key = import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < SHORTEST_RSA:
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def suits(key: Key, algorithm: str) -> bool:
    """Return whether a key is of the kind that an algorithm takes (RFC 7518, 3.1; RFC 8037; RFC 9864)."""
    if key.alg not in (None, algorithm) and {key.alg, algorithm} != {"EdDSA", "Ed25519"}:
        return False
    return (key.key_type, key.get("crv")) == KEY_KINDS[algorithm]


KEY_KINDS: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The type and curve of the keys of each algorithm that published keys may be used with."""
