"""What each command does: take the settings, make one call, return the exit code.

The rule: a command imports what it needs when it runs, after its settings were found good, so that the small ones
are quick and a wrong setting is never hidden behind something else.
"""

import argparse
import contextlib
import dataclasses
import socket
import sys
import time
from collections.abc import Sequence

from service.config import development, parsers
from service.config.settings import SHARED, Settings
from service.config.table import table


class WrongUsage(Exception):
    """What the command was told cannot be done; the message is one sentence."""


def settings_with(*needed: str) -> Settings:
    """The environment, and beside a running `onrecord dev` its servers and keys; `needed` fields have to be set.

    Whoever names a database of their own gets nothing of that development server's.
    """
    settings = Settings.from_env()
    if not settings.database_url:
        settings = Settings.from_env(**development.known_settings(settings.data_dir))
    if missing := settings.missing(*needed):
        raise WrongUsage(
            f"{' and '.join(missing)} {_are(missing)} not set, "
            f"and no `onrecord dev` runs on {settings.data_dir} that could lend its own."
        )
    return settings


def _check_port(settings: Settings) -> None:
    """Says now that a port is taken, and not after two servers were started."""
    _check(settings.host, settings.port, "ONRECORD_PORT")
    _check_metrics_port(settings)
    _check_traces(settings)


def _check_metrics_port(settings: Settings) -> None:
    if settings.metrics_port:
        _check(settings.host, settings.metrics_port, "ONRECORD_METRICS_PORT")


def _check_traces(settings: Settings) -> None:
    """Says now that what sends traces is not installed."""
    if settings.traces_url:
        try:
            from service import tracing  # noqa: F401 - for its own imports
        except ImportError as problem:
            raise WrongUsage(
                "ONRECORD_TRACES_URL needs OpenTelemetry: pip install 'onrecord[otel]'."
            ) from problem


def _check(host: str, port: int, setting: str) -> None:
    with contextlib.ExitStack() as stack:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            probe = stack.enter_context(socket.socket(family, kind, protocol))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        except OSError as problem:
            raise WrongUsage(
                f"OnRecord cannot listen on {host} port {port} ({problem.strerror}); "
                f"choose another with ONRECORD_HOST and {setting}."
            ) from problem


def dev(_args: argparse.Namespace) -> int:
    """Everything for development, in one process and two servers beside it."""
    settings = Settings.from_env(dev=True, join_creates=True)
    if settings.oidc_client_id:
        raise WrongUsage(
            "`onrecord dev` has a sign-in of its own; ONRECORD_OIDC_* goes with `onrecord serve`."
        )
    _check_tokens(settings)
    _check_port(settings)
    place = development.prepare(settings.data_dir)
    try:
        from service import embedded
    except ModuleNotFoundError as problem:
        raise WrongUsage("`onrecord dev` and the tests need `pip install 'onrecord[dev]'`.") from problem
    from service.cli.node import run_dev

    if development.as_root():
        words = f"Running as root: the data is in {place}, and the servers run as a system user of their own."
        print(words, file=sys.stderr)
    with embedded.servers(place) as servers:
        lent = development.known_settings(place)
        return run_dev(Settings.from_env(dev=True, join_creates=True, **lent), servers)


def serve(args: argparse.Namespace) -> int:
    """A node, or several."""
    secret = () if Settings.from_env().jwt_jwks else ("jwt_secret",)
    settings = _check_tokens(settings_with("database_url", *secret, "key_encryption_key"))
    if settings.redis_url and settings.missing("bus_key"):
        raise WrongUsage("ONRECORD_BUS_KEY is needed with ONRECORD_REDIS_URL (openssl rand -base64 32).")
    from service.cli.node import run_serve, run_worker, run_workers

    if args.worker is not None:
        from service.node.workers import Parent

        return run_worker(settings, Parent(args.worker))
    _check_port(settings)
    return run_serve(settings) if args.workers == 1 else run_workers(settings, args.workers)


def _check_tokens(settings: Settings) -> Settings:
    """Return the settings with one way to check tokens; a secret that `onrecord dev` lends gives way to a JWKS.

    Raises:
        WrongUsage: they contradict each other.
    """
    _check_sign_in(settings)
    if not settings.jwt_jwks:
        if set(settings.jwt_algorithms) - set(SHARED):
            raise WrongUsage("ONRECORD_JWT_ALGORITHMS: a secret goes with HS256 alone.")
        return settings
    if Settings.from_env().jwt_secret:
        raise WrongUsage(
            "ONRECORD_JWT_SECRET and ONRECORD_JWT_JWKS cannot both be set: one of them lets people in."
        )
    if missing := settings.missing("jwt_issuer", "jwt_audience"):
        raise WrongUsage(f"{' and '.join(missing)} {_are(missing)} needed with ONRECORD_JWT_JWKS.")
    if set(settings.jwt_algorithms) & set(SHARED):
        raise WrongUsage("ONRECORD_JWT_ALGORITHMS: HS256 goes with a secret, and never with published keys.")
    return dataclasses.replace(settings, jwt_secret="")


def _check_sign_in(settings: Settings) -> None:
    """Do nothing where the page's sign-in has all that it needs, or nothing.

    Raises:
        WrongUsage: it is half set.
    """
    if not settings.oidc_client_id:
        if settings.oidc_redirect_uri or settings.oidc_client_secret:
            raise WrongUsage(
                "ONRECORD_OIDC_CLIENT_ID is not set, and the rest of ONRECORD_OIDC_* goes with it."
            )
        return
    if missing := settings.missing("jwt_jwks", "oidc_redirect_uri"):
        raise WrongUsage(f"{' and '.join(missing)} {_are(missing)} needed with ONRECORD_OIDC_CLIENT_ID.")
    if not parsers.is_safe(settings.jwt_issuer or ""):
        raise WrongUsage("ONRECORD_JWT_ISSUER has to be an https:// address with ONRECORD_OIDC_CLIENT_ID.")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def migrate(_args: argparse.Namespace) -> int:
    """The schema, to the newest version."""
    settings = settings_with("migrate_database_url", "database_url")
    from service.cli.node import run_migrate

    return run_migrate(settings)


def _check_projections(names: Sequence[str]) -> None:
    from projections import PROJECTIONS

    known = [projection.name for projection in PROJECTIONS]
    if unknown := [name for name in names if name not in known]:
        raise WrongUsage(f"There is no projection {unknown[0]}; there are {', '.join(known)}.")


def project_run(args: argparse.Namespace) -> int:
    """The projector."""
    _check_projections([args.only] if args.only else [])
    settings = settings_with("database_url", "key_encryption_key")
    _check_metrics_port(settings)
    _check_traces(settings)
    from service.cli.projections import run_projector

    return run_projector(settings, args.only)


def project_status(args: argparse.Namespace) -> int:
    """How far the projections are."""
    _check_projections(args.names)
    settings = settings_with("database_url")
    from service.cli.projections import run_project_status

    return run_project_status(settings, args.names)


def project_verify(args: argparse.Namespace) -> int:
    """The read models against a fold of the log."""
    _check_projections(args.names)
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.projections import run_project_verify

    return run_project_verify(settings, args.names)


def epoch(args: argparse.Namespace) -> int:
    """Which log this is."""
    settings = settings_with("migrate_database_url" if args.renew else "database_url")
    from service.cli.epoch import run_epoch

    return run_epoch(settings, renew=args.renew)


def doctor(_args: argparse.Namespace) -> int:
    """What is wrong, before it hurts."""
    settings = _check_tokens(settings_with())
    from service.doctor import run_doctor

    return run_doctor(settings)


def show_settings(_args: argparse.Namespace) -> int:
    """Every setting."""
    print(table(settings_with()))
    return 0


def asyncapi(_args: argparse.Namespace) -> int:
    """The contract of the doors."""
    from service.gateway.http.documents import asyncapi_yaml

    return _print_document(asyncapi_yaml())


def openapi(_args: argparse.Namespace) -> int:
    """The contract of the HTTP side."""
    from service.gateway.http.documents import openapi_yaml

    return _print_document(openapi_yaml())


def _print_document(text: str) -> int:
    sys.stdout.buffer.write(text.encode())  # UTF-8 whatever the locale
    sys.stdout.buffer.flush()
    return 0


def token(args: argparse.Namespace) -> int:
    """A signed token, for whoever has the key."""
    settings = Settings.from_env()
    if settings.jwt_jwks:
        raise WrongUsage(
            "ONRECORD_JWT_JWKS is set, so the identity provider signs the tokens: one of this key would let nobody in."
        )
    secret = settings.jwt_secret
    if not secret:
        known = development.known_keys(settings.data_dir)
        if known is None:
            raise WrongUsage(
                f"There is no development key in {settings.data_dir}: start `onrecord dev` once, "
                "or name a key with ONRECORD_JWT_SECRET."
            )
        secret = known.jwt_secret
    from joserfc import jwt
    from joserfc.jwk import OctKey

    now = int(time.time())
    claims = {
        "sub": args.user,
        "name": args.name or args.user,
        "scope": " ".join(dict.fromkeys(args.scope or ["chat"])),
        "iat": now,
        "exp": now + args.ttl,
    }
    claims |= {"iss": settings.jwt_issuer} if settings.jwt_issuer else {}
    claims |= {"aud": settings.jwt_audience} if settings.jwt_audience else {}
    print(jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret)))
    return 0
