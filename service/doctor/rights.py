"""Checks what each login may do to the record, and whether a node's login could acquire the owner's rights.

Invariant: a privilege counts whether the login has it, a role that the login is a member of, or PUBLIC.
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from migrations.privileges import PROJECTOR, lacking, lacking_of_node, seals
from migrations.roles import PREFIX
from service.config.settings import Settings
from service.doctor.finding import Finding, fail, ok, warn

KEPT = ("person_keys", "carried_words", "reached_back", "carried_until", "holds")
"""The tables of keys and holds, which functions alone may write."""

RECORD = ("stored_events", "seals", "seal_nodes")
"""The append-only tables. No login may have other privileges on them than above; a trigger also stops the owner."""

PATH = "search_path=pg_catalog, public, pg_temp"
"""The search path of a SECURITY DEFINER function: the catalogue first, never a schema in which others may create."""


async def grants(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that each login has the privileges that it needs."""
    node, worker = await _logins(connection, settings)
    advice = "run `onrecord migrate` as the owner, with ONRECORD_DATABASE_URL set to this login"
    lacks = await lacking_of_node(connection, node)
    if lacks and await seals(connection, node):
        words = f"{node} lacks {', '.join(lacks)} and may seal, so it is the projector's login"
        yield fail("grants", f"{words}: set ONRECORD_DATABASE_URL to the address of the nodes' login.")
    elif lacks:
        yield fail("grants", f"This login lacks {', '.join(lacks)}: {advice}.")
    else:
        yield ok("grants", "This login may read the log and append to it.")
    if worker is None:
        advice = "set ONRECORD_PROJECTOR_DATABASE_URL to check it"
        yield ok("grants", f"The projector's login is not checked; {advice}.")
    elif lacks := await lacking(connection, worker, PROJECTOR):
        advice = "run `onrecord migrate` with ONRECORD_PROJECTOR_DATABASE_URL set to it"
        yield fail("grants", f"{worker}, the projector's login, lacks {', '.join(lacks)}: {advice}.")


async def powers(connection: Any, settings: Settings) -> AsyncIterator[Finding]:
    """Check that no login has more privileges than it needs, which would let it rewrite the record."""
    node, worker = await _logins(connection, settings)
    consequence = "so an intruder on a node can rewrite the record"
    found = await connection.fetchval(_POWERS, node, list(RECORD), list(KEPT)) or []
    if found:
        advice = "serve with a separate login that owns nothing"
        yield fail("powers", f"This login {' and '.join(found)}, {consequence}: {advice}.")
    elif node == worker:
        words = f"{node} serves and seals, so an intruder on a node can stop the sealing"
        yield warn("powers", f"{words}: give `onrecord project run` ONRECORD_PROJECTOR_DATABASE_URL.")
    elif await seals(connection, node):
        words = f"{node} serves and may seal, so an intruder on a node can stop the sealing"
        advice = "with ONRECORD_DATABASE_URL and ONRECORD_PROJECTOR_DATABASE_URL set to two logins, which revokes that"
        yield warn("powers", f"{words}: run `onrecord migrate` {advice}.")
    else:
        yield ok("powers", "This login can neither change the record nor seal it.")
    if others := await connection.fetchval(_STRANGERS, [node, worker or node], worker is None):
        have = "have" if ", " in others else "has"
        yield warn(
            "powers",
            f"{others} can connect and {have} the roles of this installation, which other databases of this cluster "
            "use too: REVOKE CONNECT ON this database FROM PUBLIC, and GRANT it to the logins of this installation.",
        )
    if neighbours := await connection.fetchval(_NEIGHBOURS, await connection.fetchval(PREFIX)):
        yield warn(
            "powers",
            f"PUBLIC may connect to this database, and the cluster has other installations ({neighbours}): REVOKE "
            "CONNECT ON this database FROM PUBLIC, and GRANT it to the logins of this installation.",
        )


async def functions(connection: Any, _settings: Settings) -> AsyncIterator[Finding]:
    """Check that no SECURITY DEFINER function can be made to run other code with its owner's rights."""
    problems = [row["problem"] for row in await connection.fetch(_FUNCTIONS, PATH)]
    problems += [
        f"{row['role']} may create in the schema public" for row in await connection.fetch(_CREATORS)
    ]
    if problems:
        advice = (
            "a login could acquire the owner's rights; run `onrecord migrate`, and find out who changed this"
        )
        yield fail("functions", f"{'; '.join(problems)}: {advice}.")
    else:
        yield ok("functions", "SECURITY DEFINER functions use objects of pg_catalog and public only.")


async def _logins(connection: Any, settings: Settings) -> tuple[str, str | None]:
    """Return the login of a node, which is this connection's, and that of the projector; None if it is not known.

    Without an address of its own the projector uses the node's login. A node is not given that address, so a login
    that may write neither read models nor seals is not the projector's.
    """
    node = await connection.fetchval("SELECT current_user::text")
    worker = urlsplit(settings.projecting_url).username or node
    is_known = worker != node or await connection.fetchval(_PROJECTS, node)
    return node, worker if is_known else None


_PROJECTS = """
    SELECT has_table_privilege($1, 'notification_tracking', 'INSERT') OR has_table_privilege($1, 'seals', 'INSERT')
"""
_POWERS = """
    SELECT array_remove(ARRAY[
        CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = $1) THEN 'is a superuser' END,
        CASE WHEN (SELECT rolcreaterole FROM pg_roles WHERE rolname = $1) THEN 'may create roles' END,
        (SELECT 'may act as ' || string_agg(DISTINCT proowner::regrole::text, ', ') FROM pg_proc
         WHERE prosecdef AND pronamespace = 'public'::regnamespace AND right(pg_get_userbyid(proowner), 8) = '_definer'
             AND pg_has_role($1, proowner, 'MEMBER')),
        (SELECT 'owns ' || string_agg(relname, ', ') FROM pg_class
         WHERE oid = ANY ($2::text[]::regclass[]) AND pg_has_role($1, relowner, 'MEMBER')),
        (SELECT 'may change ' || string_agg(relname, ', ') FROM pg_class
         WHERE oid = ANY ($2::text[]::regclass[])
             AND has_table_privilege($1, oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')),
        CASE WHEN has_table_privilege($1, 'stored_events', 'INSERT') THEN 'may insert into stored_events' END,
        (SELECT 'may write to ' || string_agg(relname, ', ') FROM pg_class
         WHERE oid = ANY ($3::text[]::regclass[])
             AND has_table_privilege($1, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')),
        CASE WHEN has_schema_privilege($1, 'public', 'CREATE') THEN 'may create in the schema public' END
    ], NULL)
"""
# Logins, beside those of this installation, that have its roles because the roles are another database's too.
_STRANGERS = """
    SELECT string_agg(DISTINCT login.rolname, ', ') FROM pg_roles login, pg_roles job, pg_class log
    WHERE job.oid IN (SELECT a.grantee FROM aclexplode(log.relacl) a WHERE a.privilege_type = 'SELECT')
        AND log.oid = 'stored_events'::regclass AND NOT job.rolcanlogin
        AND login.rolcanlogin AND NOT login.rolsuper AND login.rolname <> ALL ($1::text[])
        AND NOT ($2 AND has_table_privilege(login.oid, 'seals', 'INSERT')) -- the projector's, if that is not known
        AND pg_has_role(login.oid, job.oid, 'USAGE') AND NOT pg_has_role(login.oid, log.relowner, 'USAGE')
        AND has_database_privilege(login.oid, current_database(), 'CONNECT')
        AND EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = job.oid
            AND d.dbid NOT IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
"""
# The prefixes of other installations that this cluster has roles of, if every login may connect here.
_NEIGHBOURS = """
    SELECT string_agg(DISTINCT left(rolname, -length('_sealer')), ', ') FROM pg_roles sealer, pg_database d
    WHERE d.datname = current_database() AND right(rolname, 7) = '_sealer' AND NOT rolcanlogin
        AND left(rolname, -length('_sealer')) <> coalesce($1, 'onrecord')
        AND EXISTS (SELECT FROM pg_roles WHERE rolname = left(sealer.rolname, -length('_sealer')) || '_definer')
        AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
            WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
"""
_FUNCTIONS = """
    SELECT format('%s %s', p.oid::regprocedure, wrong.how) AS problem
    FROM pg_proc p JOIN pg_roles owner ON owner.oid = p.proowner CROSS JOIN LATERAL (VALUES
        (NOT $1::text = ANY (coalesce(p.proconfig, '{}')), 'lacks the search path of a definer'),
        (owner.rolsuper, 'runs as a superuser'),
        (owner.rolcanlogin, format('runs as the login %s', owner.rolname)),
        (EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'), 'may be called by any login')
    ) AS wrong (so, how)
    WHERE p.pronamespace IN ('public'::regnamespace, 'read_models'::regnamespace, 'analytics'::regnamespace)
        AND p.prosecdef AND wrong.so
        AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    ORDER BY 1
"""
# The owner of the database is a member of pg_database_owner, which owns `public`.
_CREATORS = """
    SELECT r.rolname AS role FROM pg_roles r
    WHERE has_schema_privilege(r.oid, 'public', 'CREATE') AND NOT r.rolsuper AND r.rolname <> 'pg_database_owner'
        AND r.oid <> (SELECT datdba FROM pg_database WHERE datname = current_database())
        AND NOT pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE oid = 'stored_events'::regclass), 'MEMBER')
    UNION ALL
    SELECT 'PUBLIC' FROM pg_namespace n, aclexplode(n.nspacl) a
    WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE'
"""
