"""What an identity provider publishes, fetched from a URL or read from a file: in bounded time, of a bounded size."""

import asyncio
import ssl
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

READ_WITHIN = 5.0
MAX_SIZE = 256 * 1024
"""Seconds and bytes that a document may take."""

NOT_FETCHED = (httpx2.HTTPError, OSError)
"""What stands for a provider that is away; `TimeoutError` is an `OSError`."""


class Unusable(Exception):
    """What came is not what it should be."""


async def fetch(source: str) -> bytes:
    """Return what is at a URL or in a file.

    Raises:
        Unusable: it is too large, or the answer is not 200.
        httpx2.HTTPError, OSError: it cannot be read.
    """
    async with asyncio.timeout(READ_WITHIN):
        if urlsplit(source).scheme:
            return await _fetch(source)
        return _bounded(await asyncio.to_thread(Path(source).read_bytes))


async def _fetch(address: str) -> bytes:
    headers = {"Accept": "application/jwk-set+json, application/json"}
    verify = await asyncio.to_thread(tls)
    # No redirects: the address is what the operator trusts. No proxies or netrc of the environment either.
    async with (
        httpx2.AsyncClient(
            verify=verify, timeout=READ_WITHIN, follow_redirects=False, trust_env=False
        ) as client,
        client.stream("GET", address, headers=headers) as answer,
    ):
        if answer.status_code != httpx2.codes.OK:
            raise Unusable(f"the answer is {answer.status_code}")
        content = b""
        async for piece in answer.aiter_bytes():
            content = _bounded(content + piece)
        return content


@cache
def tls() -> ssl.SSLContext:
    """Return what servers are trusted by: made once, since reading the certificates stops the loop for 50 ms."""
    return httpx2.create_ssl_context(trust_env=False)


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_SIZE:
        raise Unusable(f"it is larger than {MAX_SIZE} bytes")
    return content
