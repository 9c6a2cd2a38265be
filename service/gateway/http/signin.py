"""The web client's sign-in at an identity provider, over HTTP.

The page requests the provider's address with `POST /signin/begin` and navigates to it. It is served again at
`/signin/callback`, and passes the parameters in its URL to `POST /signin/finish`, whose answer has the token.

Invariant: no token is ever part of a URL. The nonce and verifier of an attempt are in a cookie that scripts cannot read
and other sites cannot send. It is named after the `state`, so that several windows can sign in at once, and is deleted
after one attempt. An encrypted cookie for each sign-in, with the same protection, allows renewal.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import msgspec
from authlib.common.security import generate_token
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.config.parsers import CALLBACK
from service.config.settings import Settings
from service.errors import (
    OnRecordError,
    ProviderAway,
    SignInDenied,
    SignInInvalid,
    SignInOver,
    SignInUnknown,
    Trouble,
)
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.auth.oidc import Begun, Oidc, SignedInAs
from service.gateway.auth.origins import check_origin
from service.gateway.auth.refresh_cookie import RefreshCookies, Renewable
from service.gateway.auth.refusal_log import RefusalLog
from service.gateway.http.endpoint import NO_STORE
from service.gateway.http.request import address_of, body
from service.gateway.transport.problem import problem
from service.protocol.events import timestamp
from service.protocol.http import SignedIn, SignInBegun, SignInReturn, SignIns, ToRenew

ATTEMPT_SECONDS = 600
"""Seconds within which a sign-in at the provider has to finish."""

MOST_BEGUN = 8
"""Unfinished sign-ins of one browser; beyond that, only the newest is kept."""

MOST_RENEWABLE = 8
"""Renewable sign-ins of one browser, one for each tab; beyond that, only the newest is kept."""

_COOKIE = "onrecord-signin-"
_RENEWAL = "onrecord-renewal-"
_RENEWED_AT = "/signin"  # browsers send these cookies to this path only
_TRY_AGAIN = ("server_error", "temporarily_unavailable")  # RFC 6749, 4.1.2.1

log = logging.getLogger("onrecord.signin")

_letters = re.compile(r"[A-Za-z0-9]{32,64}")


class SignIn:
    """The endpoints; `oidc` and `cookies` are None if no identity provider is configured."""

    def __init__(
        self,
        settings: Settings,
        oidc: Oidc | None,
        cookies: RefreshCookies | None,
        handshakes: HandshakeLimit,
        refusals: RefusalLog,
    ) -> None:
        self._settings = settings
        self._optional_oidc = oidc
        self._optional_cookies = cookies
        self._handshakes = handshakes
        self._refusals = refusals

    def routes(self, page: Callable[[Request], Awaitable[Response]]) -> list[Route]:
        """Return the routes, of which `page` serves the web client; without a provider only `GET /signin`."""
        offered = [Route("/signin", self.offered)]
        if not self._settings.oidc_client_id:
            return offered
        return [
            *offered,
            Route("/signin/begin", self._logged(self.begin), methods=["POST"]),
            Route(CALLBACK, page),
            Route("/signin/finish", self._logged(self.finish), methods=["POST"]),
            Route("/signin/renew", self._logged(self.renew), methods=["POST"]),
            Route("/signin/end", self._logged(self.end), methods=["POST"]),
        ]

    def _logged(
        self, serve: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def logged(request: Request) -> Response:
            try:
                return await serve(request)
            except OnRecordError as error:
                self._log(request, error)
                raise

        return logged

    def _log(self, request: Request, error: OnRecordError) -> None:
        address = address_of(request)
        if isinstance(error, SignInInvalid):
            problem = str(error.data["problem"])[:100]
            log.warning("signin_refused", extra={"problem": problem, "address": address})
        elif not isinstance(error, Trouble):
            self._refusals.write("signin", address, error.code, error)

    async def offered(self, _request: Request) -> Response:
        """`GET /signin`: the ways to sign in that the page offers."""
        settings = self._settings
        return _json(SignIns(demo=settings.demo_names, provider=bool(settings.oidc_client_id)))

    async def begin(self, request: Request) -> Response:
        """`POST /signin/begin`: the provider's address."""
        self._check(request)
        address, begun = await self._oidc.begin()
        response = _json(SignInBegun(address))
        if len(earlier := [name for name in request.cookies if name.startswith(self._prefix)]) >= MOST_BEGUN:
            self._delete_cookies(response, earlier)
        self._set_cookie(
            response, self._prefix + begun.state, f"{begun.nonce}.{begun.verifier}", ATTEMPT_SECONDS
        )
        return response

    async def finish(self, request: Request) -> Response:
        """`POST /signin/finish`: the token. Deletes the cookie of the attempt, successful or not."""
        self._check(request)
        back = await body(request, SignInReturn)
        name = self._prefix + back.state
        try:
            response = await self._finish(request, back, _begun(back.state, request.cookies.get(name)))
        except OnRecordError as error:
            self._log(request, error)
            response = problem(request, error)
        if _letters.fullmatch(back.state):
            self._delete_cookies(response, [name])
        return response

    async def renew(self, request: Request) -> Response:
        """`POST /signin/renew`: a new token for a tab; a cookie that the provider refuses is deleted."""
        self._check(request)
        renewal = (await body(request, ToRenew)).renewal
        try:
            return self._answer(await self._oidc.renew(self._renewable(request, renewal)), renewal)
        except OnRecordError as error:
            self._log(request, error)
            response = problem(request, error)
            if not isinstance(error, Trouble):
                self._delete_cookies(response, [self._renewal_prefix + renewal], _RENEWED_AT)
            return response

    async def end(self, request: Request) -> Response:
        """`POST /signin/end`: sign a tab out, and end its renewal."""
        self._check(request)
        renewal = (await body(request, ToRenew)).renewal
        response = Response(status_code=204, headers=NO_STORE)
        self._delete_cookies(response, [self._renewal_prefix + renewal], _RENEWED_AT)
        with suppress(SignInOver):  # it has ended already
            await self._oidc.end(self._renewable(request, renewal))
        return response

    def _renewable(self, request: Request, renewal: str) -> Renewable:
        """Return the content of a browser's renewal cookie.

        Raises:
            SignInOver: there is no such cookie, or this server did not seal it.
        """
        kept = request.cookies.get(self._renewal_prefix + renewal, "")
        if (renewable := self._cookies.open(kept, renewal)) is None:
            raise SignInOver
        return renewable

    def _answer(self, signed_in: SignedInAs, renewal: str) -> Response:
        """Return the identity and token of a tab, with the renewal cookie."""
        identity, name, token, renewable = signed_in
        sealed = self._cookies.seal(renewable, renewal) if renewable is not None else None
        if renewable is not None and sealed is None:
            log.warning("signin_not_renewable", extra={"problem": "the provider's refresh token is too long"})
        until = timestamp(identity.expires_at)
        response = _json(SignedIn(token, identity.user, name, until, renewal if sealed else None))
        if sealed:
            self._set_cookie(response, self._renewal_prefix + renewal, sealed, None, _RENEWED_AT)
        return response

    async def _finish(self, request: Request, back: SignInReturn, begun: Begun) -> Response:
        # The browser may come from another provider (RFC 9207, 2.4).
        if back.iss not in (None, self._settings.jwt_issuer):
            raise SignInUnknown
        if back.error or not back.code:
            raise ProviderAway if back.error in _TRY_AGAIN else SignInDenied
        response = self._answer(await self._oidc.finish(begun, back.code), generate_token(32))
        earlier = [name for name in request.cookies if name.startswith(self._renewal_prefix)]
        if len(earlier) >= MOST_RENEWABLE:
            self._delete_cookies(response, earlier, _RENEWED_AT)
        return response

    @property
    def _oidc(self) -> Oidc:
        assert self._optional_oidc is not None  # noqa: S101 - else there are no such routes
        return self._optional_oidc

    @property
    def _cookies(self) -> RefreshCookies:
        assert self._optional_cookies is not None  # noqa: S101 - else there are no such routes
        return self._optional_cookies

    @property
    def _secure(self) -> bool:
        return self._settings.oidc_redirect_uri.startswith("https://")

    @property
    def _prefix(self) -> str:
        """Browsers accept a cookie with the prefix `__Host-` from this very host only, and over TLS."""
        return f"__Host-{_COOKIE}" if self._secure else _COOKIE

    @property
    def _renewal_prefix(self) -> str:
        return f"__Secure-{_RENEWAL}" if self._secure else _RENEWAL

    def _check(self, request: Request) -> None:
        """Check the origin and the rate of a request, since it may cause a request to the provider."""
        check_origin(request.headers, self._settings.origins, "sign in")
        self._handshakes.take(address_of(request))

    def _set_cookie(
        self, response: Response, name: str, value: str, seconds: int | None, path: str = "/"
    ) -> None:
        response.set_cookie(
            name, value, max_age=seconds, path=path, secure=self._secure, httponly=True, samesite="strict"
        )

    def _delete_cookies(self, response: Response, names: Iterable[str], path: str = "/") -> None:
        for name in names:
            self._set_cookie(response, name, "", 0, path)


def _begun(state: str, kept: str | None) -> Begun:
    """Return an attempt from its cookie.

    Raises:
        SignInUnknown: there is no valid cookie for that state.
    """
    nonce, _, verifier = (kept or "").partition(".")
    if not all(map(_letters.fullmatch, (state, nonce, verifier))):
        raise SignInUnknown
    return Begun(state, nonce, verifier)


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json", headers=NO_STORE)
