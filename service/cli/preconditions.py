"""Checks what a command needs before it starts: its settings, free ports, optional packages.

Each check takes the parsed arguments and returns the settings. It runs before the command's own modules are imported,
so that a wrong setting is reported at once and before anything is started.
"""

import argparse
import contextlib
import dataclasses
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from service.config import development, parsers
from service.config.settings import SHARED, Settings

Check = Callable[[argparse.Namespace], Settings]


class WrongUsage(Exception):
    """The command cannot run with these arguments or settings; the message is one sentence."""


def settings_with(*needed: str) -> Settings:
    """Return the settings of the environment; without a database in it, with the servers and keys of `onrecord dev`.

    Raises:
        WrongUsage: a field in `needed` is not set.
    """
    given = settings = Settings.from_env()
    if not settings.database_url:
        settings = Settings.from_env(**development.known_settings(settings.data_dir))
    if missing := settings.missing(*needed):
        if given.database_url or given.key_encryption_key or given.jwt_issuer:  # not beside an `onrecord dev`
            raise WrongUsage(f"{_are(missing)} not set.")
        where = f"no `onrecord dev` (`make run`) runs in {settings.data_dir} to take them from"
        raise WrongUsage(f"{_are(missing)} not set, and {where}. {development.ELSEWHERE}")
    return settings


def needing(*needed: str) -> Check:
    """Return the check of a command that requires these fields of the settings."""
    return lambda _args: settings_with(*needed)


def from_environment(_args: argparse.Namespace) -> Settings:
    """Return the settings of the environment alone."""
    return Settings.from_env()


def defaults(_args: argparse.Namespace) -> Settings:
    """Return the default settings; the environment is ignored."""
    return Settings()


def read_file(path: Path) -> str:
    """Return the text of a file that an argument names.

    Raises:
        WrongUsage: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise WrongUsage(f"{path} cannot be read: {problem}.") from problem


def for_dev(_args: argparse.Namespace) -> Settings:
    """Check the settings of `onrecord dev`."""
    settings = Settings.from_env(dev=True, join_creates=True)
    if settings.oidc_client_id:
        raise WrongUsage("`onrecord dev` has its own sign-in; ONRECORD_OIDC_* is for `onrecord serve`.")
    _check_tokens(settings)
    _check_serving(settings)
    return settings


def for_serve(args: argparse.Namespace) -> Settings:
    """Check the settings of a node, and its ports unless it is a worker, which shares those of its parent."""
    given = Settings.from_env()
    if given.database_url and given.jwt_issuer and not given.jwt_jwks and not given.jwt_secret:
        raise WrongUsage(
            "Neither ONRECORD_JWT_JWKS nor ONRECORD_JWT_SECRET is set; a node needs one of them."
        )
    secret = () if given.jwt_jwks else ("jwt_secret",)
    settings = _check_tokens(settings_with("database_url", *secret, "key_encryption_key"))
    if settings.redis_url and settings.missing("bus_key"):
        raise WrongUsage("ONRECORD_BUS_KEY is needed with ONRECORD_REDIS_URL (openssl rand -base64 32).")
    if args.worker is None:
        _check_serving(settings, args.workers)
    return _demo(settings, args) if args.demo else settings


def _demo(settings: Settings, args: argparse.Namespace) -> Settings:
    if settings.jwt_jwks:
        raise WrongUsage("`--demo` signs tokens with ONRECORD_JWT_SECRET, and ONRECORD_JWT_JWKS is set.")
    if args.workers > 1:
        raise WrongUsage("`--demo` is for one node: leave out `--workers`.")
    return dataclasses.replace(settings, demo=True)


def for_epoch(args: argparse.Namespace) -> Settings:
    """Check the settings of `onrecord epoch`: only the owner may renew the epoch."""
    return settings_with("migrate_database_url" if args.renew else "database_url")


def for_person(args: argparse.Namespace) -> Settings:
    """Check the arguments and settings of `onrecord audit person`: a seq is a moment of one room."""
    if args.room is None and isinstance(args.at[0], int):
        raise WrongUsage("--at with the number of an event needs --room; without it give a day or a time.")
    return settings_with("database_url", "key_encryption_key")


def for_projector(_args: argparse.Namespace) -> Settings:
    """Check the settings of `onrecord project run`."""
    settings = settings_with("database_url", "key_encryption_key")
    _check_metrics_port(settings)
    _check_traces(settings)
    return settings


def for_doctor(_args: argparse.Namespace) -> Settings:
    """Check only that the settings do not contradict each other: the doctor reports what is missing."""
    return _check_tokens(settings_with())


def _check_serving(settings: Settings, workers: int = 1) -> None:
    if settings.metrics_port and 0 <= settings.port - settings.metrics_port < workers:
        used = f"the ports from {settings.metrics_port} on, one for each of {workers} workers"
        raise WrongUsage(
            f"ONRECORD_METRICS_PORT takes {used if workers > 1 else f'port {settings.port}'}, and ONRECORD_PORT is "
            f"{settings.port}: choose another."
        )
    _check_port(settings.host, settings.port, "ONRECORD_PORT")
    _check_metrics_port(settings, workers)
    _check_traces(settings)


def _check_metrics_port(settings: Settings, workers: int = 1) -> None:
    if settings.metrics_port:
        for port in range(settings.metrics_port, settings.metrics_port + workers):
            _check_port(settings.host, port, "ONRECORD_METRICS_PORT")


def _check_traces(settings: Settings) -> None:
    if settings.traces_url:
        try:
            from service import tracing  # noqa: F401 - for its own imports
        except ImportError as problem:
            message = "ONRECORD_TRACES_URL needs OpenTelemetry: pip install 'onrecord[otel]'."
            raise WrongUsage(message) from problem


def _check_port(host: str, port: int, setting: str) -> None:
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


def _check_tokens(settings: Settings) -> Settings:
    """Return the settings with one way to check tokens: a JWKS replaces the secret taken from `onrecord dev`.

    Raises:
        WrongUsage: the settings contradict each other.
    """
    _check_sign_in(settings)
    if settings.jwt_chat == parsers.ANY_VALID_TOKEN and settings.missing("jwt_issuer", "jwt_audience"):
        raise WrongUsage(
            "ONRECORD_JWT_CHAT=any-valid-token needs ONRECORD_JWT_ISSUER and ONRECORD_JWT_AUDIENCE: "
            "without them tokens for any service would chat here."
        )
    if not settings.jwt_jwks:
        if set(settings.jwt_algorithms) - set(SHARED):
            raise WrongUsage("ONRECORD_JWT_ALGORITHMS: with ONRECORD_JWT_SECRET only HS256 can be used.")
        return settings
    if Settings.from_env().jwt_secret:
        raise WrongUsage(
            "ONRECORD_JWT_SECRET and ONRECORD_JWT_JWKS cannot both be set: tokens are checked with one of them."
        )
    if missing := settings.missing("jwt_issuer", "jwt_audience"):
        raise WrongUsage(f"{_are(missing)} needed with ONRECORD_JWT_JWKS.")
    if set(settings.jwt_algorithms) & set(SHARED):
        raise WrongUsage("ONRECORD_JWT_ALGORITHMS: HS256 cannot be used with ONRECORD_JWT_JWKS.")
    return dataclasses.replace(settings, jwt_secret="")


def _check_sign_in(settings: Settings) -> None:
    if not settings.oidc_client_id:
        if settings.oidc_redirect_uri or settings.oidc_client_secret:
            raise WrongUsage(
                "ONRECORD_OIDC_CLIENT_ID is not set; the other ONRECORD_OIDC_* settings need it."
            )
        return
    if missing := settings.missing("jwt_jwks", "oidc_redirect_uri"):
        raise WrongUsage(f"{_are(missing)} needed with ONRECORD_OIDC_CLIENT_ID.")
    if not parsers.is_safe(settings.jwt_issuer or ""):
        raise WrongUsage("ONRECORD_JWT_ISSUER has to be an https:// address with ONRECORD_OIDC_CLIENT_ID.")


def _are(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"
