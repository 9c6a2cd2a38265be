"""Every setting, in one frozen value; the only reader of the environment.

A setting is one field of `Settings`: its type, default, meaning and whether it is a secret stand together, and the
help text, `docs/operations.md`'s test and `onrecord settings` are made from them. The environment is read once, at
the start of a command, and wrongly set variables are reported together, one sentence each.
"""

import base64
import dataclasses
import difflib
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from service import values
from service.development import default_data_dir

PREFIX = "ONRECORD_"

SHARED = ("HS256",)
PUBLISHED = ("RS256", "ES256", "EdDSA", "Ed25519")
"""The algorithms that are accepted where none are named: with a shared secret, and with published keys."""


class SettingsInvalid(Exception):
    """What is wrong with the environment: `problems` holds one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def _node() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


def _data_dir() -> Path:
    return default_data_dir(os.geteuid(), Path.cwd())


def _setting(
    meaning: str,
    parse: Callable[[str], Any],
    default: Any = dataclasses.MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    shown_default: str | None = None,
    secret: bool = False,
) -> Any:
    """One setting. `secret` hides it everywhere; `shown_default` describes a default that is no plain value."""
    about = {"meaning": meaning, "parse": parse, "secret": secret, "shown_default": shown_default}
    if factory is not None:
        return field(default_factory=factory, repr=not secret, metadata=about)
    return field(default=default, repr=not secret, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator decides. The variable of a field is `ONRECORD_` and its name in capitals.

    Texts that nobody set are empty; `missing` names them. Sizes are bytes unless the meaning says otherwise.
    """

    host: str = _setting("address to listen on", values.text, "127.0.0.1")
    port: int = _setting("port to listen on; 0 takes a free one", values.whole(0, 65535), 8000)
    data_dir: Path = _setting(
        "directory of the embedded servers' data and the development keys",
        values.path,
        factory=_data_dir,
        shown_default=".onrecord (as root: a directory under /var/tmp)",
    )
    database_url: str = _setting(
        "PostgreSQL, as the application's role", values.url("postgresql", "postgres"), "", secret=True
    )
    migrate_database_url: str = _setting(
        "PostgreSQL, as the owner of the schema",
        values.url("postgresql", "postgres"),
        "",
        secret=True,
        shown_default="ONRECORD_DATABASE_URL",
    )
    redis_url: str = _setting(
        "Redis or Valkey, the bus between nodes; without it they hear each other through the log alone",
        values.url("redis", "rediss", "unix"),
        "",
        secret=True,
    )
    bus_key: bytes = _setting(
        "32 bytes in base64, the same on every node, that sign what travels over the bus; needed with Redis",
        values.key,
        b"",
        secret=True,
    )
    node: str = _setting(
        "this node's name in logs, leases and metrics",
        values.text,
        factory=_node,
        shown_default="host name and a random suffix",
    )
    jwt_secret: str = _setting(
        "key of the HS256 tokens that let people in, at least 32 bytes", values.shared_secret, "", secret=True
    )
    jwt_jwks: str = _setting(
        "URL or file of the identity provider's public keys (JWKS), in place of the secret",
        values.key_set,
        "",
    )
    jwt_algorithms: tuple[str, ...] = _setting(
        "algorithms that may sign tokens, with commas between",
        values.among(*SHARED, *PUBLISHED, "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"),
        (),
        shown_default=f"with the secret {','.join(SHARED)}, with a JWKS {','.join(PUBLISHED)}",
    )
    jwt_issuer: str | None = _setting(
        "a token's iss has to be this; unset: not looked at; needed with a JWKS", values.text, None
    )
    jwt_audience: str | None = _setting(
        "a token's aud has to contain this; unset: not looked at; needed with a JWKS", values.text, None
    )
    jwt_leeway: float = _setting(
        "seconds that clocks may differ when a token's times are judged", values.seconds_or_zero, 0.0
    )
    oidc_client_id: str = _setting(
        "what the identity provider knows the page by: people then sign in there (OpenID Connect at "
        "ONRECORD_JWT_ISSUER); needs a JWKS",
        values.text,
        "",
    )
    oidc_client_secret: str = _setting(
        "what the page shows the identity provider beside PKCE; unset: it is a public client",
        values.text,
        "",
        secret=True,
    )
    oidc_redirect_uri: str = _setting(
        "where people come back from the identity provider, registered there letter for letter: the page's address "
        "and /signin/callback; needed with a client id",
        values.redirect_uri,
        "",
    )
    oidc_scopes: tuple[str, ...] = _setting(
        "what is asked for at the identity provider", values.scopes, ("openid", "profile")
    )
    origins: tuple[str, ...] = _setting(
        "exact origins of web pages that may connect, with commas between; unset: the same origin only",
        values.origins,
        (),
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "addresses and networks of the proxies before the nodes, with commas between, which are believed whom they "
        "speak for (X-Forwarded-For); unset: nobody is",
        values.networks,
        (),
    )
    key_encryption_key: bytes = _setting(
        "32 bytes in base64, or file: and a path to them, that wrap every person's key; who loses it loses all "
        "personal data; while it is rotated two, with a comma between: the first wraps",
        values.keys,
        b"",
        secret=True,
    )
    ping_interval: float = _setting("seconds between heartbeats", values.seconds, 25.0)
    ping_timeout: float = _setting(
        "seconds without an answer to a heartbeat until 4010", values.seconds, 20.0
    )
    connect_timeout: float = _setting(
        "seconds that a new connection has to say who it is", values.seconds, 5.0
    )
    disconnect_grace: float = _setting(
        "seconds for which a reconnect goes unnoticed, before others are told that somebody left",
        values.seconds_or_zero,
        10.0,
    )
    drain_seconds: float = _setting(
        "seconds that a stopping node gives its connections", values.seconds_or_zero, 20.0
    )
    database_timeout: float = _setting("seconds that a call to PostgreSQL may take", values.seconds, 5.0)
    redis_timeout: float = _setting("seconds that a call to Redis may take", values.seconds, 1.0)
    pool_size: int = _setting("PostgreSQL connections of one node", values.whole(2, 1000), 10)
    catchup_interval: float = _setting("seconds between looks at the log's tail", values.seconds, 1.0)
    rate_per_second: int = _setting("commands a second that one user may send", values.whole(1), 20)
    rate_burst: int = _setting(
        "commands that one user may send at once; 0 switches the limit off", values.whole(0), 40
    )
    handshake_rate: int = _setting(
        "handshakes a second from one address (of IPv6, from one /64), sign-ins on the page among them",
        values.whole(1),
        100,
    )
    handshake_burst: int = _setting(
        "handshakes from one address at once; 0 switches the limit off", values.whole(0), 1000
    )
    max_content: int = _setting("code points of one message", values.whole(1, 100_000), 10_000)
    max_frame: int = _setting("bytes of one frame from a client", values.whole(1024), 128 * 1024)
    max_outbox: int = _setting(
        "bytes that may wait for one connection until 4008", values.whole(1024), 1024 * 1024
    )
    max_rooms: int = _setting("rooms that one connection may hear", values.whole(1), 100)
    max_connections: int = _setting("connections of one user", values.whole(1), 10)
    operator: str = _setting(
        "who runs `onrecord audit` commands, as they say; recorded behind the operating system's user",
        values.person,
        "",
    )
    show_readings: bool = _setting(
        "whether owners of a room are shown who read its record", values.flag, False
    )
    metrics_token: str = _setting(
        "what a scraper of /metrics has to show as its bearer token; unset: nothing",
        values.text,
        "",
        secret=True,
    )
    metrics_port: int = _setting(
        "port of /metrics alone, which then is nowhere else; each worker takes the next; 0: the node's own",
        values.whole(0, 65535),
        0,
    )
    traces_url: str = _setting(
        "where traces go, by OTLP over HTTP, such as http://collector:4318/v1/traces; unset: nothing is traced",
        values.url("http", "https"),
        "",
        secret=True,
    )
    traces_ratio: float = _setting("share of what is traced, from 0 to 1", values.share, 1.0)
    join_creates: bool = _setting(
        "whether joining a missing room opens it",
        values.flag,
        False,
        shown_default="true in dev, false in serve",
    )
    allow_unsafe_durability: bool = _setting(
        "start although the database has fsync or synchronous_commit off: acknowledged messages may be lost",
        values.flag,
        False,
    )
    dev: bool = field(default=False)  # set by `onrecord dev`, never by the environment: opens POST /dev/token

    @property
    def demo_names(self) -> bool:
        """Whether people may sign in under any name: in development, and only where the tokens are signed here."""
        return self.dev and not self.jwt_jwks

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **defaults: Any) -> Self:
        """The settings in `environ` (default: the process's); `defaults` stand in for what it does not set.

        A variable that is set to nothing counts as not set.

        Raises:
            SettingsInvalid: a variable is unknown, or its value is not usable.
        """
        given = {
            k: v for k, v in (os.environ if environ is None else environ).items() if k.startswith(PREFIX)
        }
        problems = [_unknown(name) for name in sorted(given) if name not in BY_VARIABLE]
        chosen = dict(defaults)
        for name, setting in BY_VARIABLE.items():
            if raw := given.get(name, "").strip():
                try:
                    chosen[setting.name] = setting.metadata["parse"](raw)
                except ValueError as problem:
                    problems.append(f"{name} {problem}{_shown(setting, raw)}.")
        if problems:
            raise SettingsInvalid(problems)
        if given.get(variable("database_url")) and not given.get(variable("migrate_database_url")):
            chosen["migrate_database_url"] = chosen[
                "database_url"
            ]  # one server, never the default of another
        return cls(**chosen)

    def secret_texts(self) -> frozenset[str]:
        """Every text that must not be shown anywhere: the secrets, as they are written and as they are used."""
        found: set[str] = set()
        for setting in BY_VARIABLE.values():
            value = getattr(self, setting.name)
            if not setting.metadata["secret"] or not value:
                continue
            if isinstance(value, bytes):
                found |= {base64.b64encode(value).decode(), value.hex()}
            elif not setting.name.endswith("_url"):
                found.add(value)
            elif password := urlsplit(value).password:
                found |= {value, password, unquote(password)}
        return frozenset(found)

    def missing(self, *names: str) -> tuple[str, ...]:
        """The variables of those fields among `names` that nobody set."""
        return tuple(variable(name) for name in names if not getattr(self, name))


def variable(name: str) -> str:
    """The environment variable of the field `name`."""
    return PREFIX + name.upper()


BY_VARIABLE: Mapping[str, "dataclasses.Field[Any]"] = {
    variable(setting.name): setting for setting in dataclasses.fields(Settings) if setting.metadata
}


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, BY_VARIABLE, n=1, cutoff=0.75)
    return f"{name} is no setting" + (
        f"; did you mean {near[0]}?" if near else "; `onrecord settings` lists them all."
    )


def _shown(setting: "dataclasses.Field[Any]", raw: str) -> str:
    return "" if setting.metadata["secret"] else f", and is {raw!r}"
