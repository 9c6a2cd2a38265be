"""A small OpenID provider (OpenID Connect Core 1.0, code flow with PKCE), as strict as the specifications require.

Users sign in on its page under any name, or refuse. A test can falsify the contents of its tokens.
"""

import base64
import hashlib
import html
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from joserfc.jwk import Key
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.servers.key_provider import public, rsa, serving, signed

CLIENT, AUDIENCE = "chat-page", "chat"
CODE_HOLDS = 600
EVERYTHING = ("/.well-known/openid-configuration", "/keys", "/authorize", "/token", "/revoke")


@dataclass
class Grant:
    """The request for which a code was issued."""

    asked: dict[str, str]
    user: str
    until: float
    good: set[str] = field(default_factory=set)
    """Its refresh token: one at a time, and none after one was used twice (RFC 9700, 4.14.2)."""


def _untouched(claims: dict[str, Any]) -> dict[str, Any]:
    return claims


@dataclass
class OidcProvider:
    """`redirect_uri` is the registered one; `secret` makes the client confidential."""

    redirect_uri: str = "http://localhost:8000/signin/callback"
    secret: str = ""
    key: Key = field(default_factory=rsa)
    algorithm: str = "RS256"
    lifetime: float = 3600
    spoil_id: Callable[[dict[str, Any]], dict[str, Any]] = _untouched
    spoil_access: Callable[[dict[str, Any]], dict[str, Any]] = _untouched
    spoil_metadata: Callable[[dict[str, Any]], dict[str, Any]] = _untouched
    spoil_answer: Callable[[dict[str, Any]], dict[str, Any]] = _untouched
    renewing: bool = False
    """Whether it issues refresh tokens; each is valid once."""
    broken: tuple[str, ...] = ()
    """The paths that are answered with 503."""
    asked: list[str] = field(default_factory=list)
    """The paths of all requests."""
    issuer: str = ""
    grants: dict[str, Grant] = field(default_factory=dict)
    refreshing: dict[str, Grant] = field(default_factory=dict)
    """Every refresh token that was ever issued."""

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self._answering(self.metadata)),
            Route("/keys", self._answering(self.keys)),
            Route("/authorize", self._answering(self.authorize), methods=["GET", "POST"]),
            Route("/token", self._answering(self.token), methods=["POST"]),
            Route("/revoke", self._answering(self.revoke), methods=["POST"]),
        ]

    def _answering(self, endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            self.asked.append(request.url.path)
            if request.url.path in self.broken:
                return Response("out of order", 503)
            answered: Response = await endpoint(request)
            return answered

        return answer

    async def metadata(self, _request: Request) -> Response:
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            # A client that trusted this would be compromised.
            "id_token_signing_alg_values_supported": ["none", "HS256", self.algorithm],
            "code_challenge_methods_supported": ["S256"],
        }
        return JSONResponse(self.spoil_metadata(told))

    async def keys(self, _request: Request) -> Response:
        return Response(public(self.key), media_type="application/jwk-set+json")

    async def authorize(self, request: Request) -> Response:
        """Show the form for the user's name; redirect back afterwards."""
        asked = dict(request.query_params)
        if asked.get("client_id") != CLIENT or asked.get("redirect_uri") != self.redirect_uri:
            return Response("not a client of ours, or not where it lives", 400)  # and never a redirect there
        if (error := _wrong_with(asked)) is not None:
            return self._back(asked, error=error)
        if request.method == "GET":
            return HTMLResponse(_page(asked))
        form = await _form(request)
        if "refuse" in form:
            return self._back(asked, error="access_denied", error_description="<b>no</b>")
        code = secrets.token_urlsafe(24)
        self.grants[code] = Grant(asked, str(form["user"]), time.time() + CODE_HOLDS)
        return self._back(asked, code=code)

    def _back(self, asked: dict[str, str], **answer: str) -> Response:
        query = urlencode({**answer, "state": asked.get("state", ""), "iss": self.issuer})
        return RedirectResponse(f"{self.redirect_uri}?{query}", 302)

    async def token(self, request: Request) -> Response:
        """Give tokens for a code or a refresh token, each once."""
        form = await _form(request)
        if not self._is_client(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") not in ("authorization_code", "refresh_token"):
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        again = form["grant_type"] == "refresh_token"
        grant = self._refreshed(form) if again else self._asked_for(form)
        if grant is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        answer = self._tokens(grant, None if again else grant.asked.get("nonce"))
        return JSONResponse(self.spoil_answer(answer), headers={"Cache-Control": "no-store"})

    def _asked_for(self, form: dict[str, str]) -> Grant | None:
        grant = self.grants.pop(str(form.get("code")), None)
        good = grant is not None and grant.until >= time.time() and _same(grant.asked, form)
        return grant if good else None

    def _refreshed(self, form: dict[str, str]) -> Grant | None:
        token = str(form.get("refresh_token"))
        grant = self.refreshing.get(token)
        if grant is None or token not in grant.good:
            if grant is not None:
                grant.good.clear()  # as if it were stolen
            return None
        return grant

    async def revoke(self, request: Request) -> Response:
        """Revoke a token (RFC 7009)."""
        form = await _form(request)
        if not self._is_client(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        if (grant := self.refreshing.get(str(form.get("token")))) is not None:
            grant.good.clear()
        return Response()

    def _tokens(self, grant: Grant, nonce: str | None) -> dict[str, Any]:
        now = time.time()
        both = {"iss": self.issuer, "sub": grant.user, "iat": int(now), "exp": now + self.lifetime}
        access = signed(
            self.key, self.algorithm, **self.spoil_access({**both, "aud": AUDIENCE, "scope": "openid chat"})
        )
        claims = {
            **both,
            "aud": CLIENT,
            "azp": CLIENT,
            **({"nonce": nonce} if nonce else {}),
            "name": grant.user.title(),
            "at_hash": half_hash(access) if self.algorithm == "RS256" else None,
        }
        id_token = signed(self.key, self.algorithm, **self.spoil_id(claims))
        return {
            "access_token": access,
            "id_token": id_token,
            "token_type": "Bearer",
            "expires_in": int(self.lifetime),
            **({"refresh_token": self._refresh_token(grant)} if self.renewing else {}),
        }

    def _refresh_token(self, grant: Grant) -> str:
        made = secrets.token_urlsafe(24)
        grant.good = {made}
        self.refreshing[made] = grant
        return made

    def _is_client(self, request: Request, form: dict[str, str]) -> bool:
        if not self.secret:
            return form.get("client_id") == CLIENT
        basic = base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {basic}"


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def half_hash(token: str) -> str:
    """See OpenID Connect Core 1.0, 3.1.3.6: `at_hash`, for SHA-256."""
    return _base64url(hashlib.sha256(token.encode()).digest()[:16])


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _wrong_with(asked: dict[str, str]) -> str | None:
    if asked.get("response_type") != "code":
        return "unsupported_response_type"
    if "openid" not in asked.get("scope", "").split():
        return "invalid_scope"
    if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
        return "invalid_request"
    return None if asked.get("state") and asked.get("nonce") else "invalid_request"


def _same(asked: dict[str, str], form: dict[str, str]) -> bool:
    challenge = _base64url(hashlib.sha256(str(form.get("code_verifier")).encode()).digest())
    return asked["code_challenge"] == challenge and asked["redirect_uri"] == form.get("redirect_uri")


def _page(asked: dict[str, str]) -> str:
    there = html.escape(f"/authorize?{urlencode(asked)}")
    return (
        f'<!doctype html><title>Provider</title><form method="post" action="{there}"><input id="user" name="user">'
        '<button id="sign-in">Sign in</button><button id="refuse" name="refuse">Refuse</button></form>'
    )


@asynccontextmanager
async def oidc_provider(**given: Any) -> AsyncIterator[OidcProvider]:
    """Give a provider that runs until the block ends."""
    made = OidcProvider(**given)
    async with serving(made.routes()) as address:
        made.issuer = address
        yield made
