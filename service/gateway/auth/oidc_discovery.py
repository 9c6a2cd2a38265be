"""Fetches the metadata of an OpenID provider when it is needed, and again after ten minutes.

Invariant: the last valid metadata stays in use while the provider is away, and implausible metadata is never used.
"""

import asyncio
import logging

import msgspec

from service.config.parsers import is_safe
from service.errors import ProviderAway
from service.gateway.auth.fetch import NOT_FETCHED, Unusable, fetch

READ_AGAIN = 600.0
"""Seconds for which the metadata counts as fresh."""

log = logging.getLogger("onrecord.signin")


class Metadata(msgspec.Struct, frozen=True):
    """The metadata of a provider (OpenID Connect Discovery 1.0, 3; RFC 8414, 2), as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    revocation_endpoint: str | None = None


class Discovery:
    """The metadata of the provider `issuer`."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._now = asyncio.get_running_loop().time
        self._loading = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._tried_at = self._due_at = float("-inf")

    async def metadata(self) -> Metadata:
        """Return the provider's metadata; the last valid one if the provider is away.

        Raises:
            ProviderAway: no valid metadata was ever received.
        """
        asked = self._now()
        async with self._loading:
            # A task that waited for the lock takes the result, even a failure: it does not wait a second time.
            if self._tried_at < asked and self._now() >= self._due_at:
                await self._load()
        if self._metadata is None:
            raise ProviderAway
        return self._metadata

    async def _load(self) -> None:
        try:
            self._metadata = await metadata_of(self._issuer)
        except (Unusable, *NOT_FETCHED) as error:
            log.warning("signin_failed", extra={"problem": error})
        self._tried_at = self._now()
        self._due_at = self._tried_at + (READ_AGAIN if self._metadata is not None else 0)


async def metadata_of(issuer: str) -> Metadata:
    """Return a provider's metadata.

    Raises:
        Unusable: the metadata is implausible or must not be trusted.
        httpx2.HTTPError, OSError: the provider does not answer.
    """
    text = await fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    try:
        metadata = msgspec.json.decode(text, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable("it is no discovery document") from error
    if metadata.issuer != issuer:
        raise Unusable("it is of another issuer")
    endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.revocation_endpoint)
    if not all(is_safe(endpoint) for endpoint in endpoints if endpoint is not None):
        raise Unusable("its endpoints are not https")
    return metadata
