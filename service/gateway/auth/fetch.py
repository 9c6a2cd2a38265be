"""Fetches the documents of an identity provider, from a URL or a file: in bounded time, of a bounded size."""

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
"""The errors of a provider that cannot be reached; `TimeoutError` is an `OSError`."""


class Unusable(Exception):
    """The document is not usable."""


async def fetch(source: str) -> bytes:
    """Return the document at a URL or in a file.

    Raises:
        Unusable: the document is too large, or the status is not 200.
        httpx2.HTTPError, OSError: the document cannot be read.
    """
    async with asyncio.timeout(READ_WITHIN):
        if urlsplit(source).scheme:
            return await _fetch(source)
        return _bounded(await asyncio.to_thread(Path(source).read_bytes))


async def _fetch(address: str) -> bytes:
    headers = {"Accept": "application/jwk-set+json, application/json"}
    verify = await asyncio.to_thread(tls)
    # No redirects: the operator trusts this address only. No proxies or netrc of the environment either.
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
    """Return the TLS context; built once, since loading the certificates stops the loop for 50 ms."""
    return httpx2.create_ssl_context(trust_env=False)


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_SIZE:
        raise Unusable(f"it is larger than {MAX_SIZE} bytes")
    return content
