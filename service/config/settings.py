"""Every setting, in one frozen value.

A setting is one field of `Settings`: its type, default, meaning and whether it is a secret stand together, and the
help text, `docs/operations.md`'s test and `onrecord settings` are made from them. How the environment is read into
them is in `service.config.environment`.
"""

import base64
import dataclasses
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from service.config import parsers
from service.config.development import default_data_dir
from service.config.environment import Setting, read, setting, variable

SHARED = ("HS256",)
PUBLISHED = ("RS256", "ES256", "EdDSA", "Ed25519")
"""The algorithms that are accepted where none are named: with a shared secret, and with published keys."""


def _node() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


def _data_dir() -> Path:
    return default_data_dir(os.geteuid(), Path.cwd())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator decides. The variable of a field is `ONRECORD_` and its name in capitals.

    Texts that nobody set are empty; `missing` names them. Sizes are bytes unless the meaning says otherwise.
    """

    host: str = setting("address to listen on", parsers.text, "127.0.0.1")
    port: int = setting("port to listen on; 0 takes a free one", parsers.whole(0, 65535), 8000)
    data_dir: Path = setting(
        "directory of the embedded servers' data and the development keys",
        parsers.path,
        factory=_data_dir,
        shown_default=".onrecord (as root: a directory under /var/tmp)",
    )
    database_url: str = setting(
        "PostgreSQL, as the application's role", parsers.url("postgresql", "postgres"), "", secret=True
    )
    migrate_database_url: str = setting(
        "PostgreSQL, as the owner of the schema",
        parsers.url("postgresql", "postgres"),
        "",
        secret=True,
        shown_default="ONRECORD_DATABASE_URL",
    )
    projector_database_url: str = setting(
        "PostgreSQL, as the login of `onrecord project run`, which builds the read models and seals the log",
        parsers.url("postgresql", "postgres"),
        "",
        secret=True,
        shown_default="ONRECORD_DATABASE_URL",
    )
    redis_url: str = setting(
        "Redis or Valkey, the bus between nodes; without it they hear each other through the log alone",
        parsers.url("redis", "rediss", "unix"),
        "",
        secret=True,
    )
    bus_key: bytes = setting(
        "32 bytes in base64, the same on every node, that sign what travels over the bus; needed with Redis",
        parsers.key,
        b"",
        secret=True,
    )
    node: str = setting(
        "this node's name in logs, leases and metrics",
        parsers.text,
        factory=_node,
        shown_default="host name and a random suffix",
    )
    jwt_secret: str = setting(
        "key of the HS256 tokens that let people in, at least 32 bytes",
        parsers.shared_secret,
        "",
        secret=True,
    )
    jwt_jwks: str = setting(
        "URL or file of the identity provider's public keys (JWKS), in place of the secret",
        parsers.key_set,
        "",
    )
    jwt_algorithms: tuple[str, ...] = setting(
        "algorithms that may sign tokens, with commas between",
        parsers.among(*SHARED, *PUBLISHED, "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"),
        (),
        shown_default=f"with the secret {','.join(SHARED)}, with a JWKS {','.join(PUBLISHED)}",
    )
    jwt_issuer: str | None = setting(
        "a token's iss has to be this; unset: not looked at; needed with a JWKS", parsers.text, None
    )
    jwt_audience: str | None = setting(
        "a token's aud has to contain this; unset: not looked at; needed with a JWKS", parsers.text, None
    )
    jwt_leeway: float = setting(
        "seconds that clocks may differ when a token's times are judged", parsers.seconds_or_zero, 0.0
    )
    oidc_client_id: str = setting(
        "what the identity provider knows the page by: people then sign in there (OpenID Connect at "
        "ONRECORD_JWT_ISSUER); needs a JWKS",
        parsers.text,
        "",
    )
    oidc_client_secret: str = setting(
        "what the page shows the identity provider beside PKCE; unset: it is a public client",
        parsers.text,
        "",
        secret=True,
    )
    oidc_redirect_uri: str = setting(
        "where people come back from the identity provider, registered there letter for letter: the page's address "
        "and /signin/callback; needed with a client id",
        parsers.redirect_uri,
        "",
    )
    oidc_scopes: tuple[str, ...] = setting(
        "what is asked for at the identity provider", parsers.scopes, ("openid", "profile")
    )
    origins: tuple[str, ...] = setting(
        "exact origins of web pages that may connect, with commas between; unset: the same origin only",
        parsers.origins,
        (),
    )
    trusted_proxies: tuple[str, ...] = setting(
        "addresses and networks of the proxies before the nodes, with commas between, which are believed whom they "
        "speak for (X-Forwarded-For); unset: nobody is",
        parsers.networks,
        (),
    )
    key_encryption_key: bytes = setting(
        "32 bytes in base64, or file: and a path to them, that wrap every person's key; who loses it loses all "
        "personal data; while it is rotated two, with a comma between: the first wraps",
        parsers.keys,
        b"",
        secret=True,
    )
    ping_interval: float = setting("seconds between heartbeats", parsers.seconds, 25.0)
    ping_timeout: float = setting(
        "seconds without an answer to a heartbeat until 4010", parsers.seconds, 20.0
    )
    connect_timeout: float = setting(
        "seconds that a new connection has to say who it is", parsers.seconds, 5.0
    )
    disconnect_grace: float = setting(
        "seconds for which a reconnect goes unnoticed, before others are told that somebody left",
        parsers.seconds_or_zero,
        10.0,
    )
    drain_seconds: float = setting(
        "seconds that a stopping node gives its connections", parsers.seconds_or_zero, 20.0
    )
    database_timeout: float = setting("seconds that a call to PostgreSQL may take", parsers.seconds, 5.0)
    redis_timeout: float = setting("seconds that a call to Redis may take", parsers.seconds, 1.0)
    pool_size: int = setting("PostgreSQL connections of one node", parsers.whole(2, 1000), 10)
    catchup_interval: float = setting("seconds between looks at the log's tail", parsers.seconds, 1.0)
    rate_per_second: int = setting("commands a second that one user may send", parsers.whole(1), 20)
    rate_burst: int = setting(
        "commands that one user may send at once; 0 switches the limit off", parsers.whole(0), 40
    )
    handshake_rate: int = setting(
        "handshakes a second from one address (of IPv6, from one /64) at one node, sign-ins on the page among them",
        parsers.whole(1),
        100,
    )
    handshake_burst: int = setting(
        "handshakes from one address at once at one node; 0 switches the limit off", parsers.whole(0), 1000
    )
    max_content: int = setting("code points of one message", parsers.whole(1, 100_000), 10_000)
    max_frame: int = setting("bytes of one frame from a client", parsers.whole(1024), 128 * 1024)
    max_outbox: int = setting(
        "bytes that may wait for one connection until 4008", parsers.whole(1024), 1024 * 1024
    )
    max_rooms: int = setting("rooms that one connection may hear", parsers.whole(1), 100)
    max_connections: int = setting("connections of one user", parsers.whole(1), 10)
    operator: str = setting(
        "who runs `onrecord audit` commands, as they say; recorded behind the operating system's user",
        parsers.person,
        "",
    )
    show_readings: bool = setting(
        "whether owners of a room are shown who read its record", parsers.flag, False
    )
    metrics_token: str = setting(
        "what a scraper of /metrics has to show as its bearer token; unset: nothing",
        parsers.text,
        "",
        secret=True,
    )
    metrics_port: int = setting(
        "port of /metrics alone, which then is nowhere else; each worker takes the next; 0: the node's own",
        parsers.whole(0, 65535),
        0,
    )
    traces_url: str = setting(
        "where traces go, by OTLP over HTTP, such as http://collector:4318/v1/traces; unset: nothing is traced",
        parsers.url("http", "https"),
        "",
        secret=True,
    )
    traces_ratio: float = setting("share of what is traced, from 0 to 1", parsers.share, 1.0)
    join_creates: bool = setting(
        "whether joining a missing room opens it",
        parsers.flag,
        False,
        shown_default="true in dev, false in serve",
    )
    allow_unsafe_durability: bool = setting(
        "start although the database has fsync or synchronous_commit off: acknowledged messages may be lost",
        parsers.flag,
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
        given = os.environ if environ is None else environ
        chosen = read(BY_VARIABLE, given, defaults)
        if given.get(variable("database_url")):
            # One server, never the default of another.
            for other in ("migrate_database_url", "projector_database_url"):
                if not given.get(variable(other)):
                    chosen[other] = chosen["database_url"]
        return cls(**chosen)

    @property
    def projecting_url(self) -> str:
        """The address under which the projector and the sealer connect."""
        return self.projector_database_url or self.database_url

    def secret_texts(self) -> frozenset[str]:
        """Every text that must not be shown anywhere: the secrets, as they are written and as they are used."""
        found: set[str] = set()
        for one in BY_VARIABLE.values():
            value = getattr(self, one.name)
            if not one.metadata["secret"] or not value:
                continue
            if isinstance(value, bytes):
                found |= {base64.b64encode(value).decode(), value.hex()}
            elif not one.name.endswith("_url"):
                found.add(value)
            elif password := urlsplit(value).password:
                found |= {value, password, unquote(password)}
        return frozenset(found)

    def missing(self, *names: str) -> tuple[str, ...]:
        """The variables of those fields among `names` that nobody set."""
        return tuple(variable(name) for name in names if not getattr(self, name))


BY_VARIABLE: Mapping[str, Setting] = {
    variable(one.name): one for one in dataclasses.fields(Settings) if one.metadata
}


def table(settings: Settings) -> str:
    """Every setting in four columns: variable, value (secrets hidden), default, meaning."""
    rows = [("setting", "value", "default", "meaning")]
    for name, about in BY_VARIABLE.items():
        value = _value(about, getattr(settings, about.name))
        rows.append((name, value, _default(about), about.metadata["meaning"]))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows)


def _value(about: Setting, value: Any) -> str:
    if value in ("", b"", None, ()):
        return "(not set)"
    if not about.metadata["secret"]:
        return _plain(value)
    if about.name.endswith("_url"):
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return "(set)"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default(about: Setting) -> str:
    if shown := about.metadata["shown_default"]:
        return str(shown)
    return "" if about.default in ("", b"", None, ()) else _plain(about.default)
