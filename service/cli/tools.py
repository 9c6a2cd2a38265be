"""The commands that do not use the log: the doctor, the settings, the API documents and development tokens."""

import argparse
import time

from service.cli.preconditions import WrongUsage
from service.config import development
from service.config.settings import Settings, table


def run_doctor(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord doctor`: a line per finding; the exit code of the most severe one."""
    import asyncio

    from service import doctor

    findings = asyncio.run(doctor.examine(settings))
    for finding in findings:
        print(finding)
    return doctor.exit_code(findings)


def run_settings(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord settings`: every setting."""
    print(table(settings))
    return 0


def run_asyncapi(_settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord asyncapi`: the contract of the realtime endpoints."""
    from service.cli.output import print_text
    from service.gateway.http.documents import asyncapi_yaml

    return print_text(asyncapi_yaml())


def run_openapi(_settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord openapi`: the contract of the HTTP API."""
    from service.cli.output import print_text
    from service.gateway.http.documents import openapi_yaml

    return print_text(openapi_yaml())


def run_token(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord token`: a token signed with the configured secret or the development key."""
    from joserfc import jwt
    from joserfc.jwk import OctKey

    from service.gateway.auth.claims import ClaimRules

    secret = _signing_secret(settings)
    now = int(time.time())
    scopes = list(dict.fromkeys(args.scope or ["chat"]))
    claims = ClaimRules.of(settings).claims_for(args.user, args.name or args.user, scopes)
    claims |= {"iat": now, "exp": now + args.ttl}
    claims |= {"iss": settings.jwt_issuer} if settings.jwt_issuer else {}
    claims |= {"aud": settings.jwt_audience} if settings.jwt_audience else {}
    print(jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret)))
    return 0


def run_analytics_url(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord analytics url`: the address of the views for analysts in the database of `onrecord dev`."""
    if settings.database_url:
        raise WrongUsage(
            f"ONRECORD_DATABASE_URL is set, and this command knows only `onrecord dev`: {_OWN_DATABASE}."
        )
    url = development.analytics_url(settings.data_dir)
    if url is None:
        raise WrongUsage(
            f"No `onrecord dev` (`make run`) runs in {settings.data_dir}: start it, or set ONRECORD_DATA_DIR. "
            f"For a database of your own: {_OWN_DATABASE}."
        )
    print(url)
    return 0


_OWN_DATABASE = "create a login as docs/guides/analyse-read-models.md shows"


def _signing_secret(settings: Settings) -> str:
    if settings.jwt_jwks:
        raise WrongUsage("ONRECORD_JWT_JWKS is set: nodes accept only tokens of the identity provider.")
    if settings.jwt_secret:
        return settings.jwt_secret
    if (keys := development.known_keys(settings.data_dir)) is None:
        raise WrongUsage(
            f"There is no development key in {settings.data_dir}: start `onrecord dev` (`make run`) once, "
            f"or set ONRECORD_JWT_SECRET. {development.ELSEWHERE}"
        )
    return keys.jwt_secret
