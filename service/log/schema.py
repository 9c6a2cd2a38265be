"""Bringing the schema to its newest version, and checking that a database is fit to keep a promise.

The migrations own every table, the library's too. They run as the owner (`ONRECORD_MIGRATE_DATABASE_URL`); the login of
`ONRECORD_DATABASE_URL` gets the narrow roles and nothing else.
"""

import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import sqlalchemy
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import migrations

MIGRATIONS = Path(migrations.__file__).parent
ROLES = ("onrecord_node", "onrecord_projector")


class UnsafeDurability(Exception):
    """The database acknowledges commits that a crash could lose."""


class SchemaOutdated(Exception):
    """The database's schema is not the one this version was written for."""


def migrate(owner_url: str, application_url: str) -> list[str]:
    """Bring the schema to its newest version; return the versions applied, oldest first.

    Raises:
        sqlalchemy.exc.OperationalError: the database cannot be reached.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(_sqlalchemy_url(owner_url), poolclass=sqlalchemy.NullPool)
    try:
        with engine.begin() as connection:
            # Two migrations at once would race for the first table.
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(7236110)"))
            before = MigrationContext.configure(connection).get_current_revision()
            command.upgrade(_config(connection), "head")
            after = MigrationContext.configure(connection).get_current_revision()
            _grant_roles(connection, application_url)
    finally:
        engine.dispose()
    return _between(before, after)


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


def run_sql(name: str) -> None:
    """Run a file of plain SQL statements inside a migration."""
    # By the driver's own cursor: SQLAlchemy would take `:name` and `%` in the file for parameters.
    cursor = op.get_bind().connection.cursor()
    cursor.execute((MIGRATIONS / "sql" / name).read_text(encoding="utf-8"))
    cursor.close()


def _config(connection: sqlalchemy.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _grant_roles(connection: sqlalchemy.Connection, application_url: str) -> None:
    connection.execute(sqlalchemy.text(f"GRANT SELECT ON alembic_version TO {', '.join(ROLES)}"))
    login = urlsplit(application_url).username
    owner = connection.execute(sqlalchemy.text("SELECT current_user")).scalar_one()
    if login and login != owner:
        quoted = connection.dialect.identifier_preparer.quote(login)
        for role in ROLES:
            connection.execute(sqlalchemy.text(f"GRANT {role} TO {quoted}"))


def _between(before: str | None, after: str | None) -> list[str]:
    if after is None or before == after:
        return []
    script = ScriptDirectory(str(MIGRATIONS))
    found = [revision.revision for revision in script.iterate_revisions(after, before or "base")]
    return found[::-1]


def _sqlalchemy_url(url: str) -> str:
    return "postgresql+psycopg://" + url.split("://", 1)[1]
