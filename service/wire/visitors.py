"""Who asks over HTTP: their token, whether they may come in at all, and whether their scope is enough."""

from starlette.requests import Request

from service.domain.person import require_standing
from service.wire.auth import CHAT, Identity, bearer
from service.wire.problem import TokenMissing
from service.wire.services import Services


async def visitor(services: Services, request: Request, scope: str = CHAT) -> Identity:
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
