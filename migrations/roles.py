"""The roles of a database: their names, and whether the login that migrates may make and grant them.

Roles belong to the whole cluster, so the names of an installation begin with a prefix: `onrecord`, or what
`ONRECORD_DATABASE_ROLE_PREFIX` is at the first migration. After it the database shows the prefix, since the functions
that run with more rights than their caller belong to `<prefix>_definer`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from migrations import newest

if TYPE_CHECKING:
    from sqlalchemy import Connection

DEFAULT = "onrecord"
"""The prefix in the text of the migrations, and of every database that an earlier version has migrated."""

JOBS = ("node", "projector", "sealer")
"""What follows the prefix in the names of the roles that logins become members of."""

_NAMES = re.compile(r"\bonrecord_(?=(?:node|projector|sealer|definer|analyst)\b)")

PREFIX = """
    SELECT left(pg_get_userbyid(proowner), -length('_definer')) FROM pg_catalog.pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prosecdef AND right(pg_get_userbyid(proowner), 8) = '_definer'
    GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
"""
"""Selects the prefix of a migrated database: no row before migration 0019, when it was always the default."""


class RolesDiffer(Exception):
    """The setting names another prefix than the roles of this database have; the message is one sentence."""


class PrivilegeMissing(Exception):
    """The login that migrates lacks a privilege; the message is one sentence and names it."""


def renamed(statements: str, prefix: str) -> str:
    """Return SQL of a migration with the names of this installation's roles."""
    return _NAMES.sub(f"{prefix}_", statements)


def prefix_of(connection: "Connection", wanted: str) -> str:
    """Return the prefix of a database; before its first migration the `wanted` one, or the default if that is empty.

    Raises:
        RolesDiffer: the database has another prefix than the wanted one.
    """
    found: str | None = connection.exec_driver_sql(PREFIX).scalar()
    if found is None and not _is_empty(connection):
        found = DEFAULT
    if found and wanted and found != wanted:
        raise RolesDiffer(
            f"The roles of this database begin with {found}_, and ONRECORD_DATABASE_ROLE_PREFIX is {wanted}: the "
            f"setting counts before the first migration only; set it to {found}, or unset it."
        )
    return found or wanted or DEFAULT


def require_privileges(connection: "Connection", prefix: str, logins: Mapping[str, Sequence[str]]) -> None:
    """Check that the current user may migrate, before anything is changed.

    `logins` are the roles that each login becomes a member of. A database at the newest version needs only what those
    memberships need.

    Raises:
        PrivilegeMissing: it may not, or a login does not exist.
    """
    # Each kind is looked for only if there is none of the kind before: the roles of a login need the login.
    for problem in chain(
        _database_problems(connection),
        _login_problems(connection, logins),
        _role_problems(connection, prefix, logins),
    ):
        raise PrivilegeMissing(problem)


def lacking(connection: "Connection", login: str, roles: Sequence[str]) -> list[str]:
    """Return the roles whose privileges a login does not have yet."""
    return list(connection.exec_driver_sql(_LACKING, (list(roles), login)).scalars())


def quoted(name: str) -> str:
    """Return an identifier as SQL."""
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def _is_empty(connection: "Connection") -> bool:
    return connection.exec_driver_sql("SELECT to_regclass('public.stored_events')").scalar() is None


def _is_outdated(connection: "Connection") -> bool:
    if connection.exec_driver_sql("SELECT to_regclass('public.alembic_version')").scalar() is None:
        return True
    return connection.exec_driver_sql("SELECT version_num FROM public.alembic_version").scalar() != newest()


def _database_problems(connection: "Connection") -> Iterator[str]:
    row = connection.exec_driver_sql(_DATABASE).mappings().one()
    owner, database, other = row["owner"], row["database"], row["other"]
    if other:
        yield (
            f"The login {owner} does not own the tables of the database {database}, {other} does: set "
            f"ONRECORD_MIGRATE_DATABASE_URL to the address of {other}, or, if that is a superuser, run "
            "migrations/roles.sql as it."
        )
    elif not row["owns"] and _is_outdated(connection):
        yield (
            f"The login {owner} does not own the database {database}: as its owner or a superuser, "
            f"ALTER DATABASE {quoted(database)} OWNER TO {quoted(owner)}."
        )


def _login_problems(connection: "Connection", logins: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for login in logins:
        if connection.exec_driver_sql("SELECT FROM pg_roles WHERE rolname = %s", (login,)).first() is None:
            advice = f"as a role that may create roles, CREATE ROLE {quoted(login)} LOGIN"
            yield f"The login {login} does not exist: {advice}."


def _role_problems(
    connection: "Connection", prefix: str, logins: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    row = connection.exec_driver_sql(_ME).mappings().one()
    owner = row["owner"]
    names = [f"{prefix}_{job}" for job in (*JOBS, "definer", "analyst")]
    present = list(connection.exec_driver_sql(_PRESENT, (names,)).scalars())
    missing = [name for name in names if name not in present]
    if strangers := _strangers(connection, names, [owner, *logins]):
        have = "have" if ", " in strangers else "has"
        yield (
            f"{strangers} {have} the roles {prefix}_*, which another database of this cluster uses: set "
            "ONRECORD_DATABASE_ROLE_PREFIX to a prefix that no other installation has; else, if that database is this "
            f"installation's too, REVOKE the roles from {strangers}."
        )
    if missing and not row["creates"] and _is_outdated(connection):
        yield (
            f"The login {owner} lacks CREATEROLE, and {_counted(missing)} to be created: as a superuser or a role that "
            f"may create roles, ALTER ROLE {quoted(owner)} CREATEROLE."
        )
    if closed := [
        name
        for name in _to_grant(connection, owner, [name for name in present if name in names[:-1]], logins)
        if not connection.exec_driver_sql(_MAY_GRANT, (name,)).scalar()
    ]:
        yield (
            f"The login {owner} lacks the ADMIN OPTION of {', '.join(closed)}: if another installation in this cluster "
            "uses these roles, set ONRECORD_DATABASE_ROLE_PREFIX to a prefix that none has; else, as a superuser or as "
            f"the role that created them, GRANT {', '.join(map(quoted, closed))} TO {quoted(owner)} WITH ADMIN OPTION."
        )


def _strangers(connection: "Connection", roles: Sequence[str], logins: Sequence[str]) -> str:
    """Return the other logins that have the roles which an empty database would share with another one.

    Superusers need no roles, so an installation that has them alone joins no other one.
    """
    if not _is_empty(connection) or connection.exec_driver_sql(_POWERFUL, (list(logins),)).scalar():
        return ""
    return str(connection.exec_driver_sql(_STRANGERS, (list(roles[:3]), list(logins))).scalar() or "")


def _to_grant(
    connection: "Connection", owner: str, roles: Sequence[str], logins: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return which of the roles a migration grants: all in an empty database, else those that a login lacks."""
    if _is_empty(connection):
        return list(roles)
    lacked = set(lacking(connection, owner, roles))
    for login, wanted in logins.items():
        lacked |= set(lacking(connection, login, wanted))
    return [role for role in roles if role in lacked]


def _counted(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"


_DATABASE = """
    SELECT CURRENT_USER AS owner, current_database() AS database,
        has_database_privilege(current_database(), 'CREATE')
            AND (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public') AS owns,
        (SELECT pg_get_userbyid(relowner) FROM pg_class
         WHERE oid = to_regclass('public.stored_events') AND NOT pg_has_role(relowner, 'USAGE')) AS other
"""
_ME = (
    "SELECT rolname AS owner, rolsuper OR rolcreaterole AS creates FROM pg_roles WHERE rolname = CURRENT_USER"
)
_PRESENT = "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)"
_STRANGERS = """
    SELECT string_agg(DISTINCT login.rolname, ', ') FROM pg_roles job JOIN pg_auth_members m ON m.roleid = job.oid
    JOIN pg_roles login ON login.oid = m.member
    WHERE job.rolname = ANY (%s) AND login.rolcanlogin AND NOT login.rolsuper AND login.rolname <> ALL (%s)
        AND EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = job.oid
            AND d.dbid NOT IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
"""
_POWERFUL = "SELECT bool_and(rolsuper) FROM pg_roles WHERE rolname = ANY (%s)"
_LACKING = """
    SELECT rolname FROM unnest(%s::name[]) WITH ORDINALITY AS wanted (rolname, number) JOIN pg_roles USING (rolname)
    WHERE NOT pg_has_role(%s::name, oid, 'USAGE') ORDER BY number
"""
# Up to version 15, CREATEROLE includes the ADMIN OPTION of all roles that are no superusers.
_MAY_GRANT = """
    SELECT pg_has_role(%s::name, 'MEMBER WITH ADMIN OPTION') OR current_setting('server_version_num')::integer < 160000
        AND (SELECT rolcreaterole FROM pg_roles WHERE rolname = CURRENT_USER)
"""
