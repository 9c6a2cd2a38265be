"""Declares every setting: one field of `Settings` each, with its type, default, meaning and whether it is a secret.

The table of `onrecord settings` and `docs/reference/settings.md` are made from these.
"""

import dataclasses
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from service.config import parsers
from service.config.development import default_data_dir
from service.config.environment import Setting, read, setting, variable

SHARED = ("HS256",)
PUBLISHED = ("RS256", "ES256", "EdDSA", "Ed25519")
"""The accepted algorithms if none are set: with a shared secret, and with published keys."""


def _node() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


def _data_dir() -> Path:
    return default_data_dir(os.geteuid(), Path.cwd())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings. The variable of a field is `ONRECORD_` and its name in capitals.

    A text that is not set is empty; `missing` names such fields. Sizes are bytes unless the meaning says otherwise.
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
    database_session_url: str = setting(
        "PostgreSQL, as the application's role, for what needs a session if ONRECORD_DATABASE_URL leads to a pooler in "
        "transaction mode; unset there: nodes and projectors read the log every ONRECORD_CATCHUP_INTERVAL",
        parsers.url("postgresql", "postgres"),
        "",
        secret=True,
        shown_default="ONRECORD_DATABASE_URL",
    )
    database_pooling: str = setting(
        "mode of the pooler to which ONRECORD_DATABASE_URL leads: none, session, transaction; detect: tested at start",
        parsers.one_of("detect", "none", "session", "transaction"),
        "detect",
    )
    migrate_database_url: str = setting(
        "PostgreSQL, as the owner of the schema",
        parsers.url("postgresql", "postgres"),
        "",
        secret=True,
        shown_default="ONRECORD_DATABASE_SESSION_URL",
    )
    database_role_prefix: str = setting(
        "first part of the names of the database roles that `onrecord migrate` makes, another for each installation in "
        "a PostgreSQL cluster; counts before the first migration of a database, which keeps its names",
        parsers.role_prefix,
        "",
        shown_default="onrecord",
    )
    projector_database_url: str = setting(
        "PostgreSQL, as the login of `onrecord project run`, which builds the read models and seals the log",
        parsers.url("postgresql", "postgres"),
        "",
        secret=True,
        shown_default="ONRECORD_DATABASE_SESSION_URL",
    )
    redis_url: str = setting(
        "Redis or Valkey, the bus between nodes; without it events reach other nodes through the log alone",
        parsers.url("redis", "rediss", "unix"),
        "",
        secret=True,
    )
    bus_key: bytes = setting(
        "key that signs messages on the bus: 32 bytes in base64, the same on every node; needed with Redis",
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
        "key of the HS256 tokens with which users connect, at least 32 bytes",
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
        "comma-separated algorithms that may sign tokens",
        parsers.among(*SHARED, *PUBLISHED, "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"),
        (),
        shown_default=f"with the secret {','.join(SHARED)}, with a JWKS {','.join(PUBLISHED)}",
    )
    jwt_issuer: str | None = setting(
        "required value of a token's iss; unset: not checked; needed with a JWKS", parsers.text, None
    )
    jwt_audience: str | None = setting(
        "value that a token's aud has to contain; unset: not checked; needed with a JWKS", parsers.text, None
    )
    jwt_leeway: float = setting(
        "seconds by which clocks may differ when a token's times are checked", parsers.seconds_or_zero, 10.0
    )
    jwt_user_claim: str = setting(
        "claim of a token that is the user id; a dotted path names a claim in an object", parsers.claim, "sub"
    )
    jwt_name_claim: str = setting("claim that is the display name, or its dotted path", parsers.claim, "name")
    jwt_scope_claim: str = setting(
        "claim with the scopes or roles, or its dotted path: a text with spaces, an array, or an object; if it is not "
        "scope, only the words in ONRECORD_JWT_SCOPES and ONRECORD_JWT_CHAT count",
        parsers.claim,
        "scope",
    )
    jwt_scopes: tuple[str, ...] = setting(
        "comma-separated role:scope pairs: a word of the scope claim, and the scope that it grants (chat, auditor or "
        "admin)",
        parsers.role_scopes,
        (),
    )
    jwt_chat: str = setting(
        "what a token needs to chat: any-valid-token (one that names auditor or admin needs chat too), or a word of "
        "the scope claim",
        parsers.scope_word,
        "",
        shown_default="any-valid-token with an issuer and an audience, else chat, which a token without scope has",
    )
    oidc_client_id: str = setting(
        "OIDC client id of the page; users then sign in at the identity provider (OpenID Connect at "
        "ONRECORD_JWT_ISSUER); needs a JWKS",
        parsers.text,
        "",
    )
    oidc_client_secret: str = setting(
        "OIDC client secret; unset: a public client (PKCE only)", parsers.text, "", secret=True
    )
    oidc_redirect_uri: str = setting(
        "OIDC redirect URI, exactly as registered at the identity provider: the page's address followed by "
        "/signin/callback; needed with a client id",
        parsers.redirect_uri,
        "",
    )
    oidc_scopes: tuple[str, ...] = setting(
        "scopes requested from the identity provider", parsers.scopes, ("openid", "profile")
    )
    origins: tuple[str, ...] = setting(
        "comma-separated origins of other web pages that may connect; the server's own page always may",
        parsers.origins,
        (),
    )
    trusted_proxies: tuple[str, ...] = setting(
        "comma-separated addresses and networks of the proxies before the nodes, whose X-Forwarded-For, "
        "-Host and -Proto are trusted; unset: none",
        parsers.networks,
        (),
    )
    key_encryption_key: bytes = setting(
        "key that wraps the key of every user: 32 bytes in base64, or file: and a path to them; without it all "
        "personal data is lost; during a rotation two comma-separated keys, of which the first wraps",
        parsers.keys,
        b"",
        secret=True,
    )
    ping_interval: float = setting("seconds between heartbeats", parsers.seconds, 25.0)
    ping_timeout: float = setting(
        "seconds without an answer to a heartbeat before a connection is closed (4010)", parsers.seconds, 20.0
    )
    keep_alive: float = setting(
        "seconds for which an idle HTTP connection is kept; longer than the balancer before the nodes keeps its own",
        parsers.seconds,
        75.0,
    )
    connect_timeout: float = setting(
        "seconds that a new connection has to authenticate", parsers.seconds, 5.0
    )
    disconnect_grace: float = setting(
        "seconds that a user has to reconnect before others see them offline", parsers.seconds_or_zero, 10.0
    )
    drain_seconds: float = setting(
        "seconds that a stopping node gives its connections", parsers.seconds_or_zero, 20.0
    )
    database_timeout: float = setting("seconds that a call to PostgreSQL may take", parsers.seconds, 5.0)
    redis_timeout: float = setting("seconds that a call to Redis may take", parsers.seconds, 1.0)
    pool_size: int = setting("PostgreSQL connections of one node", parsers.whole(2, 1000), 10)
    catchup_interval: float = setting("seconds between reads of the log's tail", parsers.seconds, 1.0)
    rate_per_second: int = setting("commands a second that one user may send", parsers.whole(1), 20)
    rate_burst: int = setting(
        "commands that one user may send at once; 0 switches the limit off", parsers.whole(0), 40
    )
    address_rate: int = setting(
        "commands and HTTP requests a second, by their prices, from one address (of IPv6, from one /64) at one node",
        parsers.whole(1),
        2_000,
    )
    address_burst: int = setting(
        "commands and HTTP requests, by their prices, from one address at once at one node; 0 switches the limit off",
        parsers.whole(0),
        20_000,
    )
    log_bytes_per_day: int = setting(
        "bytes of the log that one user's commands may append in a day (UTC); 0 switches the limit off",
        parsers.whole(0),
        64 * 1024 * 1024,
    )
    handshake_rate: int = setting(
        "handshakes a second from one address (of IPv6, from one /64) at one node, sign-ins on the page among them",
        parsers.whole(1),
        100,
    )
    handshake_burst: int = setting(
        "handshakes from one address at once at one node; 0 switches the limit off", parsers.whole(0), 1000
    )
    session_rate: int = setting("sessions a second that one user may begin at one node", parsers.whole(1), 2)
    session_burst: int = setting(
        "sessions that one user may begin at once at one node; 0 switches the limit off", parsers.whole(0), 30
    )
    unauthenticated_bytes: int = setting(
        "bytes of unfinished input that one node holds from clients that have not authenticated, an eighth of it from "
        "one address",
        parsers.whole(64 * 1024),
        64 * 1024 * 1024,
    )
    max_content: int = setting("code points of one message", parsers.whole(1, 100_000), 10_000)
    max_mentions: int = setting("members that one message may mention", parsers.whole(0, 100), 100)
    max_edits: int = setting(
        "edits of one message; a bot that streams its answer needs one for each step",
        parsers.whole(0, 10_000),
        100,
    )
    max_frame: int = setting("bytes of one frame from a client", parsers.whole(1024), 128 * 1024)
    max_outbox: int = setting(
        "bytes queued for one connection above which it is closed (4008)", parsers.whole(1024), 1024 * 1024
    )
    uring: str = setting(
        "auto: one system call writes an event to many connections (io_uring), where the kernel allows it; off: never",
        parsers.one_of("auto", "off"),
        "auto",
    )
    ring_bytes: int = setting(
        "bytes of memory for the latest events of all rooms of a node, from which clients resume without a query",
        parsers.whole(1024 * 1024),
        128 * 1024 * 1024,
    )
    max_reports: int = setting("reports of messages that one user may make in a day", parsers.whole(1), 20)
    reports_to_admins: bool = setting(
        "whether administrators see and resolve the reports of all rooms, those of direct rooms among them",
        parsers.flag,
        False,
    )
    export_interval: float = setting(
        "seconds between two exports of a user's own data; 0 switches the limit off",
        parsers.seconds_or_zero,
        3600.0,
    )
    max_rooms: int = setting(
        "rooms of the user's choice that one connection may subscribe to", parsers.whole(1), 100
    )
    max_added_rooms: int = setting(
        "rooms that one connection may subscribe to beside them because others added the user; the least recently "
        "used one gives way",
        parsers.whole(1),
        100,
    )
    adds_per_hour: int = setting(
        "people that one user may add to rooms or invite in an hour; 0 switches the limit off",
        parsers.whole(0),
        100,
    )
    add_members: str = setting(
        "who may add people to rooms and open direct rooms with them: anyone, or invite: they are invited, and "
        "become members when they join",
        parsers.one_of("anyone", "invite"),
        "anyone",
    )
    find_people: str = setting(
        "whom users find by name or user id: anyone who has signed in, people of a shared room, or nobody",
        parsers.one_of("anyone", "shared", "nobody"),
        "anyone",
    )
    max_blocks: int = setting(
        "different users that one user may block, counting those unblocked since",
        parsers.whole(1, 10_000),
        1_000,
    )
    max_connections: int = setting("connections of one user", parsers.whole(1), 10)
    operator: str = setting(
        "claimed name of the operator who runs `onrecord audit`; recorded after the operating system's user",
        parsers.operator,
        "",
    )
    show_readings: bool = setting("whether the owners of a room see who read its record", parsers.flag, False)
    metrics_token: str = setting(
        "bearer token that a scraper of /metrics needs; unset: none", parsers.text, "", secret=True
    )
    metrics_port: int = setting(
        "separate port of /metrics, which is then served only there; each worker takes the next; 0: the node's own",
        parsers.whole(0, 65535),
        0,
    )
    traces_url: str = setting(
        "address to which traces are sent, by OTLP over HTTP, such as http://collector:4318/v1/traces; unset: none",
        parsers.url("http", "https"),
        "",
        secret=True,
    )
    traces_ratio: float = setting("share of commands that is traced, from 0 to 1", parsers.share, 1.0)
    join_creates: bool = setting(
        "whether joining a room that does not exist opens it",
        parsers.flag,
        False,
        shown_default="true in dev, false in serve",
    )
    allow_unsafe_durability: bool = setting(
        "start although the database has fsync or synchronous_commit off: acknowledged messages may be lost",
        parsers.flag,
        False,
    )
    # Set by `onrecord dev` and `onrecord serve --demo`, never by the environment: both open POST /dev/token.
    dev: bool = field(default=False)
    demo: bool = field(default=False)

    @property
    def demo_names(self) -> bool:
        """Whether users may sign in under any name: not where an identity provider signs the tokens."""
        return (self.dev or self.demo) and not self.jwt_jwks

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **defaults: Any) -> Self:
        """Return the settings in `environ` (default: the process's), with `defaults` for those that it does not set.

        Raises:
            SettingsInvalid: a variable is unknown or its value is invalid.
        """
        given = os.environ if environ is None else environ
        chosen = read(BY_VARIABLE, given, defaults)
        if given.get(variable("database_url")):
            # All logins use this server, and none that of `defaults`.
            for other in ("migrate_database_url", "projector_database_url"):
                if not given.get(variable(other)):
                    chosen[other] = chosen.get("database_session_url") or chosen["database_url"]
        return cls(**chosen)

    @property
    def projecting_url(self) -> str:
        """The address with which the projector and the sealer connect."""
        return self.projector_database_url or self.session_url

    @property
    def session_url(self) -> str:
        """The address for what needs a session, as the application's role."""
        return self.database_session_url or self.database_url

    def missing(self, *names: str) -> tuple[str, ...]:
        """Return the variables of those fields in `names` that are not set."""
        return tuple(variable(name) for name in names if not getattr(self, name))


BY_VARIABLE: Mapping[str, Setting] = {
    variable(about.name): about for about in dataclasses.fields(Settings) if about.metadata
}


def table(settings: Settings) -> str:
    """Return every setting in four columns: variable, value (secrets hidden), default, meaning."""
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
