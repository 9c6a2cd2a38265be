"""Who asks over HTTP: their token, whether they may come in at all, and whether their scope is enough."""

from starlette.requests import Request

from service.domain.account import require_standing
from service.gateway.auth.tokens import CHAT, Identity, bearer
from service.gateway.services import Services
from service.gateway.transport.problem import TokenMissing


async def authenticate(services: Services, request: Request, scope: str = CHAT) -> Identity:
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
    identity.require(scope)
    return identity
