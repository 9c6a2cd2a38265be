"""The identity provider, where tokens are checked with the keys that it publishes."""

import asyncio

import httpx

from service.doctor.finding import UNREACHED, Finding, fail, ok
from service.settings import PUBLISHED, Settings
from service.wire.keys import READ_WITHIN, KeysUnusable, fetch, public_keys, suits


async def examine(settings: Settings) -> list[Finding]:
    """Return what is to be said about the provider; nothing where tokens are checked with a secret."""
    if not settings.jwt_jwks:
        return []
    try:
        async with asyncio.timeout(READ_WITHIN):
            keys = public_keys(await fetch(settings.jwt_jwks))
    except KeysUnusable as problem:
        return [fail("provider", f"ONRECORD_JWT_JWKS cannot be used: {problem}.")]
    except (httpx.HTTPError, OSError) as problem:
        words = str(problem) or type(problem).__name__
        return [
            fail(
                "provider", f"ONRECORD_JWT_JWKS is not reached, so nobody new can enter: {words}.", UNREACHED
            )
        ]
    algorithms = settings.jwt_algorithms or PUBLISHED
    usable = [key for key in keys if any(suits(key, algorithm) for algorithm in algorithms)]
    if not usable:
        return [
            fail("provider", f"None of the provider's {len(keys)} keys is one for {', '.join(algorithms)}.")
        ]
    return [ok("provider", f"It publishes {len(keys)} keys, and {len(usable)} of them can let people in.")]
