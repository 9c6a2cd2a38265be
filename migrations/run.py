"""Runs the migrations to the newest version, as the owner of the database (`ONRECORD_MIGRATE_DATABASE_URL`)."""

import logging
from urllib.parse import unquote, urlsplit

import sqlalchemy
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from migrations import MIGRATIONS
from migrations.roles import DEFAULT, JOBS, lacking, prefix_of, quoted, renamed, require_privileges

__all__ = ["MIGRATIONS", "ForeignObjects", "migrate", "run_sql"]


class ForeignObjects(Exception):
    """The schema `public` holds objects of a role that may not create there."""


def migrate(
    owner_url: str, application_url: str, projector_url: str = "", *, role_prefix: str = ""
) -> list[str]:
    """Bring the schema to its newest version; return the versions applied, oldest first.

    The login of `application_url` becomes a member of `onrecord_node`. The login of `projector_url` becomes a member of
    `onrecord_projector` and `onrecord_sealer`; if that URL is empty, the login of `application_url` does. `role_prefix`
    replaces `onrecord` in the names of the roles of a database that is not migrated yet.

    Raises:
        sqlalchemy.exc.OperationalError: the database cannot be reached.
        RolesDiffer: the roles of the database have another prefix than `role_prefix`.
        PrivilegeMissing: the owner's login lacks a privilege, or another login does not exist.
        ForeignObjects: a role that is neither the owner nor a superuser has objects in the schema `public`.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(_sqlalchemy_url(owner_url), poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect() as connection:
            # Two migrations at one time would both try to create the first table.
            connection.exec_driver_sql("SELECT pg_catalog.pg_advisory_lock(7236110)")
            connection.exec_driver_sql("SET search_path = pg_catalog")
            prefix = connection.info[_PREFIX] = prefix_of(connection, role_prefix)
            logins = _logins(connection, application_url, projector_url or application_url)
            require_privileges(connection, prefix, logins)
            _close_public(connection)
            connection.commit()
            _refuse_foreign_objects(connection)
            connection.exec_driver_sql(renamed(_REOPEN, prefix))
            connection.exec_driver_sql("SET search_path = public")
            before = MigrationContext.configure(connection).get_current_revision()
            command.upgrade(_config(connection), "head")
            after = MigrationContext.configure(connection).get_current_revision()
            _grant_roles(connection, application_url, projector_url or application_url)
            connection.commit()
    finally:
        engine.dispose()
    return _between(before, after)


def run_sql(name: str) -> None:
    """Run a file of plain SQL statements inside a migration, with the names of this installation's roles."""
    connection = op.get_bind()
    statements = renamed((MIGRATIONS / "sql" / name).read_text(encoding="utf-8"), _prefix(connection))
    # SQLAlchemy would treat `:name` and `%` in the file as parameters, so the driver's own cursor runs it.
    cursor = connection.connection.cursor()
    cursor.execute(statements)
    cursor.close()


def _prefix(connection: sqlalchemy.Connection) -> str:
    return str(connection.info.get(_PREFIX, DEFAULT))


def _config(connection: sqlalchemy.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _close_public(connection: sqlalchemy.Connection) -> None:
    """Revoke the right to create in `public`."""
    roles = [f"{_prefix(connection)}_{job}" for job in JOBS]
    present = connection.exec_driver_sql(_PRESENT, (roles,)).scalars()
    others = ", ".join(["PUBLIC", *(f'"{role}"' for role in present)])
    connection.exec_driver_sql(f"REVOKE CREATE ON SCHEMA public FROM {others}")


def _refuse_foreign_objects(connection: sqlalchemy.Connection) -> None:
    """Raise `ForeignObjects` if a function, operator or type could run with the rights of the owner."""
    if found := list(connection.exec_driver_sql(renamed(_FOREIGN, _prefix(connection))).scalars()):
        message = (
            f"The schema public holds {', '.join(found)}. Only the owner may create there, and a migration could "
            "call it with the owner's rights. Find out who created it, drop it, and migrate again."
        )
        raise ForeignObjects(message)


def _logins(
    connection: sqlalchemy.Connection, application_url: str, projector_url: str
) -> dict[str, list[str]]:
    """Return the roles of each login but the owner's, which is the current user."""
    node, projector, sealer = (f"{_prefix(connection)}_{job}" for job in JOBS)
    roles: dict[str, list[str]] = {}
    for url, jobs in ((application_url, [node]), (projector_url, [projector, sealer])):
        if login := unquote(urlsplit(url).username or ""):
            roles[login] = roles.get(login, []) + jobs
    roles.pop(connection.exec_driver_sql("SELECT CURRENT_USER").scalar_one(), None)
    return roles


def _grant_roles(connection: sqlalchemy.Connection, application_url: str, projector_url: str) -> None:
    node, projector, sealer = (f"{_prefix(connection)}_{job}" for job in JOBS)
    connection.exec_driver_sql(f"GRANT SELECT ON alembic_version TO {node}, {projector}, {sealer}")
    for login, roles in _logins(connection, application_url, projector_url).items():
        # A membership that exists is not granted again: an owner that may not grant could not migrate.
        if missing := lacking(connection, login, roles):
            connection.exec_driver_sql(f"GRANT {', '.join(missing)} TO {quoted(login)}")
    if urlsplit(application_url).username != urlsplit(projector_url).username:
        _revoke(connection, unquote(urlsplit(application_url).username or ""), [projector, sealer])


def _revoke(connection: sqlalchemy.Connection, login: str, roles: list[str]) -> None:
    """Revoke roles of the projector from the login of a node, which had them before the projector had its own login.

    A membership granted by a role that the owner cannot use stays; `onrecord doctor` reports it.
    """
    rows = connection.execute(sqlalchemy.text(_MEMBERSHIPS), {"login": login, "roles": roles}).all()
    for role, member, grantor in rows:
        connection.exec_driver_sql(f"REVOKE {role} FROM {member} GRANTED BY {grantor}")


def _between(before: str | None, after: str | None) -> list[str]:
    if after is None or before == after:
        return []
    script = ScriptDirectory(str(MIGRATIONS))
    found = [revision.revision for revision in script.iterate_revisions(after, before or "base")]
    return found[::-1]


def _sqlalchemy_url(url: str) -> str:
    return "postgresql+psycopg://" + url.split("://", 1)[1]


_PREFIX = "onrecord_role_prefix"

_PRESENT = "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)"

_MEMBERSHIPS = """
    SELECT DISTINCT CAST(m.roleid AS regrole), CAST(m.member AS regrole), CAST(m.grantor AS regrole)
    FROM pg_auth_members m JOIN pg_roles login ON login.oid = m.member JOIN pg_roles role ON role.oid = m.roleid
    WHERE login.rolname = :login AND role.rolname = ANY (:roles) AND pg_has_role(m.grantor, 'USAGE')
"""

# Migrations 0002 to 0018 create the read models in `public`, as the projector; 0019 revokes the right before the
# transaction ends.
_REOPEN = """
    DO $$ BEGIN
        IF to_regrole('onrecord_projector') IS NOT NULL AND to_regnamespace('read_models') IS NULL THEN
            GRANT CREATE ON SCHEMA public TO onrecord_projector;
        END IF;
    END $$
"""

# The owner, superusers and the role of the definer functions create in `public`. The read models were there before
# migration 0019; they are not listed, since a relation runs no code by itself.
_FOREIGN = """
    SELECT described.what || ' of ' || described.owner::regrole
    FROM (
        SELECT 'function ' || oid::regprocedure AS what, proowner AS owner FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'operator ' || oid::regoperator, oprowner FROM pg_operator WHERE oprnamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'type ' || oid::regtype, typowner FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype IN ('b', 'd', 'e', 'r') AND typelem = 0
    ) described JOIN pg_roles r ON r.oid = described.owner
    WHERE NOT r.rolsuper AND r.rolname NOT IN (CURRENT_USER, 'onrecord_definer')
        AND r.oid NOT IN (SELECT relowner FROM pg_class WHERE oid = to_regclass('public.stored_events'))
    ORDER BY 1
"""
