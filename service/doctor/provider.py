"""Checks the identity provider, if tokens are verified with its published keys."""

from service.config.settings import PUBLISHED, Settings
from service.doctor.finding import UNREACHED, Finding, fail, ok
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
        words = str(problem) or type(problem).__name__
        return [
            fail(
                "provider",
                f"ONRECORD_JWT_JWKS is not reached, so no new user can connect: {words}.",
                UNREACHED,
            )
        ]
    algorithms = settings.jwt_algorithms or PUBLISHED
    usable = [key for key in keys if any(suits(key, algorithm) for algorithm in algorithms)]
    if not usable:
        return [
            fail("provider", f"None of the provider's {len(keys)} keys is one for {', '.join(algorithms)}.")
        ]
    well = ok("provider", f"It publishes {len(keys)} keys, and {len(usable)} of them can let people in.")
    return [well, *(await _sign_in(settings))]


async def _sign_in(settings: Settings) -> list[Finding]:
    if not settings.oidc_client_id:
        return []
    try:
        await metadata_of(settings.jwt_issuer or "")
    except Unusable as problem:
        return [fail("sign-in", f"What ONRECORD_JWT_ISSUER publishes for OpenID cannot be used: {problem}.")]
    except NOT_FETCHED as problem:
        words = str(problem) or type(problem).__name__
        return [
            fail(
                "sign-in", f"ONRECORD_JWT_ISSUER is not reached, so no user can sign in: {words}.", UNREACHED
            )
        ]
    return [
        ok(
            "sign-in",
            "People can be sent to the identity provider; whether it knows this page is seen there.",
        )
    ]
