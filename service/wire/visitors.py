"""Who asks over HTTP: their token, whether they may come in at all, and whether their scope is enough."""

from starlette.requests import Request

from service.domain.person import require_standing
from service.errors import NotAllowed
from service.wire.auth import Identity, bearer
from service.wire.problem import TokenMissing
from service.wire.services import Services


async def visitor(services: Services, request: Request, scope: str | None = None) -> Identity:
    """Return who asks; `scope` is what their token has to grant.

    Raises:
        TokenMissing, TokenInvalid, TokenExpired: nobody does.
        AccountErased, AccountSuspended, NotAllowed: they may not.
        Unavailable: the log cannot be read.
    """
    token = bearer(request.headers.get("authorization"))
    if token is None:
        raise TokenMissing
    identity = await services.tokens.verify(token)
    await services.people.load([identity.user])
    require_standing(services.people.standing(identity.user))
    if scope is not None and scope not in identity.scopes:
        raise NotAllowed(problem=f"This needs a token with the scope {scope}.")
    return identity
