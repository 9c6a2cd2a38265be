"""The settings and tokens of the processes under test."""

import os
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from tests.support.servers.databases import Database

SECRET = "a secret of the tests, thirty-two bytes and more"


BUS_KEY = "dGhlIGJ1cyBrZXkgZm9yIGFsbCB0aGVzZSB0ZXN0cyE="


KEY_ENCRYPTION_KEY = "b25lIGtleSBmb3IgYWxsIG9mIHRoZXNlIHRlc3RzISE="


ROOT = Path(__file__).parents[2]


def token(user: str, expires: int = 4_000_000_000, **claims: object) -> str:
    """Return a token of a user; `expires` is in seconds since 1970."""
    fields = {"sub": user, "exp": expires, **claims}
    return jwt.encode({"alg": "HS256"}, fields, OctKey.import_key(SECRET))


def environment(database: Database, **settings: str) -> dict[str, str]:
    """Return the environment of a command on a database, without other settings of OnRecord."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")}
    return inherited | {
        "ONRECORD_PORT": "0",
        "ONRECORD_DATABASE_URL": database.app_url,
        "ONRECORD_MIGRATE_DATABASE_URL": database.owner_url,
        "ONRECORD_PROJECTOR_DATABASE_URL": database.worker_url,
        "ONRECORD_JWT_SECRET": SECRET,
        "ONRECORD_KEY_ENCRYPTION_KEY": KEY_ENCRYPTION_KEY,
        "ONRECORD_BUS_KEY": BUS_KEY,
        "ONRECORD_JOIN_CREATES": "true",
        "ONRECORD_RATE_BURST": "0",
        "ONRECORD_MAX_REPORTS": "1000",
        "ONRECORD_SESSION_BURST": "0",
        "ONRECORD_ADDS_PER_HOUR": "0",
        "ONRECORD_MAX_CONNECTIONS": "1000",
        **settings,
    }
