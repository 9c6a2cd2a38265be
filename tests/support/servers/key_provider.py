"""A small identity provider: publishes keys at a real address, and signs tokens with them."""

import asyncio
import json
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.gateway.auth.tokens import _Algorithms

ISSUER, AUDIENCE = "https://id.example.com", "chat"
LATER = 4_000_000_000


def rsa(kid: str | None = "rsa", bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": kid} if kid else None, auto_kid=False)


def short_rsa() -> RSAKey:
    """Return a key that is too short to be trusted."""
    key = generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.import_key(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), {"kid": "short"}
        )


def ec(kid: str = "ec", curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid})


def ed25519(kid: str = "ed") -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


def public(*keys: Key) -> bytes:
    """Return the JWKS of some keys."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def signed(key: Key, alg: str, **claims: Any) -> str:
    """Return a token signed by a key; its header names the key if it has a name."""
    fields = {"sub": "alice", "exp": LATER, "iss": ISSUER, "aud": AUDIENCE, "iat": int(time.time()), **claims}
    header = {"alg": alg, **({"kid": key.kid} if key.kid else {})}
    return jwt.encode(
        header,
        {name: value for name, value in fields.items() if value is not None},
        key,
        registry=_Algorithms(algorithms=[alg]),
    )


class Provider:
    """The published keys, and the number of requests."""

    def __init__(self, *keys: Key) -> None:
        self.content = public(*keys)
        self.status = 200
        self.asked = 0
        self.holding = asyncio.Event()
        self.holding.set()
        self.url = ""

    async def answer(self, _request: Request) -> Response:
        self.asked += 1
        await self.holding.wait()
        headers = {"Location": "/keys"} if self.status == 302 else None
        return Response(self.content, self.status, headers, "application/jwk-set+json")


@asynccontextmanager
async def serving(routes: Sequence[Route], port: int = 0) -> AsyncIterator[str]:
    """Serve routes until the block ends; give their address."""
    config = uvicorn.Config(
        Starlette(routes=routes), port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined] # the signals are the tests'
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def provider(*keys: Key, port: int = 0) -> AsyncIterator[Provider]:
    """Give a provider that runs until the block ends."""
    made = Provider(*keys)
    routes = [Route("/keys", made.answer), Route("/moved", made.answer)]
    async with serving(routes, port) as address:
        made.url = f"{address}/keys"
        try:
            yield made
        finally:
            made.holding.set()
