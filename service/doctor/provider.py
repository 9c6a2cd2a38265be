"""Checks the identity provider, if tokens are verified with its published keys."""

from service.config.settings import PUBLISHED, Settings
from service.doctor.finding import UNREACHED, Finding, described, fail, ok
from service.gateway.auth.fetch import NOT_FETCHED, Unusable, fetch
from service.gateway.auth.jwks import public_keys, suits
from service.gateway.auth.oidc_discovery import metadata_of


async def examine(settings: Settings) -> list[Finding]:
    """Return the findings about the provider; none if tokens are verified with a secret."""
    if not settings.jwt_jwks:
        return []
    try:
        keys = public_keys(await fetch(settings.jwt_jwks))
    except Unusable as problem:
        return [fail("provider", f"ONRECORD_JWT_JWKS cannot be used: {problem}.")]
    except NOT_FETCHED as problem:
        words = f"ONRECORD_JWT_JWKS is not reached, so no new user can connect: {described(problem)}."
        return [fail("provider", words, UNREACHED)]
    algorithms = settings.jwt_algorithms or PUBLISHED
    usable = [key for key in keys if any(suits(key, algorithm) for algorithm in algorithms)]
    if not usable:
        words = f"None of the provider's {len(keys)} keys suits {', '.join(algorithms)}."
        return [fail("provider", words)]
    words = f"It publishes {len(keys)} keys; {len(usable)} of them suit the accepted algorithms."
    return [ok("provider", words), *(await _sign_in(settings))]


async def _sign_in(settings: Settings) -> list[Finding]:
    if not settings.oidc_client_id:
        return []
    try:
        await metadata_of(settings.jwt_issuer or "")
    except Unusable as problem:
        return [fail("sign-in", f"The OpenID metadata of ONRECORD_JWT_ISSUER cannot be used: {problem}.")]
    except NOT_FETCHED as problem:
        words = f"ONRECORD_JWT_ISSUER is not reached, so no user can sign in: {described(problem)}."
        return [fail("sign-in", words, UNREACHED)]
    words = "The provider's metadata can be used; only a sign-in shows whether it accepts the redirect URI."
    return [ok("sign-in", words)]
