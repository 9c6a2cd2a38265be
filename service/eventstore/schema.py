"""Bringing the schema to its newest version, and checking that a database is fit to keep a promise.

The migrations own every table, the library's too. They run as the owner (`ONRECORD_MIGRATE_DATABASE_URL`); the login of
`ONRECORD_DATABASE_URL` gets the narrow roles and nothing else.
"""

from typing import Any

import asyncpg
from alembic.script import ScriptDirectory

from migrations.run import MIGRATIONS


class UnsafeDurability(Exception):
    """The database acknowledges commits that a crash could lose."""


class SchemaOutdated(Exception):
    """The database's schema is not the one this version was written for."""


async def check(connection: Any, *, allow_unsafe: bool) -> None:
    """Do nothing where the database is fit to serve.

    Raises:
        SchemaOutdated: `onrecord migrate` has to run first.
        UnsafeDurability: `fsync` or `synchronous_commit` is off, and `allow_unsafe` does not accept that.
    """
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    try:
        current = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        current = None
    if current != head:
        message = (
            f"The database's schema is at {current or 'nothing'}, {head} is needed: run `onrecord migrate`."
        )
        raise SchemaOutdated(message)
    for setting in ("fsync", "synchronous_commit"):
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value == "off" and not allow_unsafe:
            message = (
                f"{setting} is off in the database: a crash would lose acknowledged messages. Switch it on, or say "
                f"that this is acceptable with ONRECORD_ALLOW_UNSAFE_DURABILITY=true."
            )
            raise UnsafeDurability(message)
