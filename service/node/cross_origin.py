"""Cross-origin requests over HTTP (CORS): pages of the listed origins may read; refused preflights are logged.

A browser asks for permission with a preflight before it sends a token. If that is refused, the request itself never
comes, so the preflight is the only place where a foreign origin shows.
"""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import NotAllowed
from service.gateway.auth.origins import check_origin
from service.gateway.auth.refusal_log import FOREIGN_ORIGIN, RefusalLog
from service.gateway.http.request import address_of
from service.gateway.transport.problem import problem


class CrossOrigin(CORSMiddleware):
    """The middleware, for pages of `origins` besides the server's own."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], refusals: RefusalLog) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_credentials=True,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After", "WWW-Authenticate"],
        )
        self._origins = origins
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the preflight of a foreign page; pass everything else on."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            if (refusal := self._refused(Request(scope))) is not None:
                await refusal(scope, receive, send)
                return
        elif not self._origins:
            await self.app(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        """Return the refusal of a preflight from a foreign page, None for any other request."""
        if not _is_preflight(request.headers):
            return None
        try:
            check_origin(request.headers, self._origins, "send requests")
        except NotAllowed as error:
            self._refusals.write("http", address_of(request), FOREIGN_ORIGIN, error)
            return problem(request, error)
        return None


def _is_preflight(headers: Headers) -> bool:
    return "origin" in headers and "access-control-request-method" in headers
