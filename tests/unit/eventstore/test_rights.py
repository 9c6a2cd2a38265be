"""What a node's login tries against the record: each attack runs on a real server, and is answered `permission denied`.

The attacker has the login of a node, as `servers.json` names it, and every statement of SQL.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations.run import ForeignObjects, migrate
from service.doctor.rights import PATH
from service.domain.streams import stream_id
from service.embedded import Servers
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database, database_named

Connection = psycopg.Connection[Any]

PLANTED = """
    CREATE FUNCTION {schema}.cardinality(text[]) RETURNS integer LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE 'ALTER ROLE onrecord_app SUPERUSER';
        RETURN pg_catalog.cardinality($1);
    END $$
"""
"""Exact argument types: it wins over `pg_catalog.cardinality(anyarray)` in any search path that has its schema."""

APPEND_NOTHING = """
    SELECT * FROM public.chat_append('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')
"""

INSERTS = {
    "an event in the year 9999 at the last position": """
        INSERT INTO stored_events (originator_id, originator_version, topic, state, notification_id, stream, subject,
            recorded_at, recorded_by)
        VALUES (gen_random_uuid(), 1, 'room.RoomOpened.v1', '{}', 9200000000000000000, 'room:x', 'settings',
            '9999-12-31', 'x')""",
    "a seal": "INSERT INTO seals VALUES (1, 0, '{1}', decode(repeat('00', 32), 'hex'), 'made up')",
    "a subtree": "INSERT INTO seal_nodes VALUES (8, 0, decode(repeat('00', 32), 'hex'))",
    "a key that signs": "INSERT INTO seal_keys VALUES (1, 'x', decode(repeat('00', 32), 'hex'), 'x', NULL)",
    "a ref": "INSERT INTO refs VALUES ('bob', 'r1', '', 'room:x', 1, now())",
    "a hold": "INSERT INTO holds VALUES ('user:bob', NULL)",
    "the end of the log": "INSERT INTO log_end VALUES (true, 1, now())",
    "an epoch": "INSERT INTO log_epoch VALUES (gen_random_uuid())",
}
CHANGES = {
    "the end of the log": "UPDATE log_end SET position = 9200000000000000000, recorded_at = '9999-12-31'",
    "the sequence": "SELECT setval('stored_events_notification_id_seq', 9200000000000000000)",
    "a number of the sequence": "SELECT nextval('stored_events_notification_id_seq')",
    "a ref": "DELETE FROM refs",
    "the epoch": "UPDATE log_epoch SET epoch = gen_random_uuid()",
    "a key": "UPDATE person_keys SET wrapped = NULL, destroyed_at = now()",
    "a hold": "DELETE FROM holds",
    "the search path of a function": "ALTER FUNCTION erase_person RESET search_path",
    "the owner of a function": "ALTER FUNCTION erase_person OWNER TO onrecord_app",
    "the definer's role": "SET ROLE onrecord_definer",
    "the sealing role": "SET ROLE onrecord_sealer",
    "the projector's role": "SET ROLE onrecord_projector",
    "membership": "GRANT onrecord_definer TO onrecord_app",
    "a schema": "CREATE SCHEMA mine",
    "a read model": "UPDATE read_models.messages_v2 SET content = 'x'",
    "a position": "UPDATE notification_tracking SET notification_id = 0",
}


@pytest.fixture
def node(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def worker(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.worker_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def superuser(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("schema_name", ["public", "read_models", "analytics"])
def test_a_node_creates_no_function(node: Connection, schema_name: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema"):
        node.execute(PLANTED.format(schema=schema_name).encode())


@pytest.mark.parametrize("schema_name", ["public", "analytics"])
def test_a_projector_creates_no_function_that_a_definer_sees(worker: Connection, schema_name: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema"):
        worker.execute(PLANTED.format(schema=schema_name).encode())


def test_a_function_planted_among_the_read_models_runs_in_no_definer(
    worker: Connection, node: Connection, superuser: Connection
) -> None:
    worker.execute(PLANTED.format(schema="read_models").encode())
    for path in ("read_models, public", "read_models, pg_catalog, public", "pg_temp, read_models, public"):
        node.execute(sql.SQL("SET search_path = {}").format(sql.SQL(path)))
        node.execute(APPEND_NOTHING)
    assert superuser.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'onrecord_app'").fetchone() == (
        False,
    )


def test_a_temporary_table_stands_in_for_no_table_of_the_log(node: Connection) -> None:
    node.execute(
        "CREATE TEMPORARY TABLE log_end AS SELECT true AS single, 0::bigint AS position, now() AS recorded_at"
    )
    node.execute(
        "CREATE TEMPORARY TABLE refs (user_id text, ref text, fingerprint bytea, stream text, seq bigint)"
    )
    node.execute(APPEND_NOTHING)
    _append(node, "r1")
    _append(node, "r1")
    assert node.execute("SELECT count(*) FROM pg_temp.refs").fetchone() == (0,)
    assert node.execute("SELECT count(*) FROM stored_events").fetchone() == (1,)


@pytest.mark.parametrize("statement", INSERTS.values(), ids=INSERTS.keys())
def test_a_node_inserts_nothing_by_itself(node: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        node.execute(statement.encode())


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES.keys())
def test_a_node_changes_nothing_by_itself(node: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"permission denied|must be owner"):
        node.execute(statement.encode())


def test_a_row_that_the_owner_inserts_dates_no_later_event(node: Connection, superuser: Connection) -> None:
    superuser.execute(INSERTS["an event in the year 9999 at the last position"].encode())
    _append(node, "r1")
    position, late = node.execute(
        "SELECT notification_id, recorded_at > now() + interval '1 hour' FROM stored_events WHERE stream = 'room:a'"
    ).fetchone() or (None, None)
    assert (position, late) == (1, False)


def test_a_batch_of_an_older_snapshot_is_not_judged_by_it(database: Database, node: Connection) -> None:
    """The guard would find nothing: the event that it guards against was committed after the snapshot."""
    with psycopg.connect(database.app_url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM stored_events")
        _append(node, "r1", stream="room:b")
        with pytest.raises(psycopg.errors.SerializationFailure):
            _append(old, "r2")


def test_a_sequence_that_was_set_back_stops_appending(node: Connection, superuser: Connection) -> None:
    _append(node, "r1")
    superuser.execute("UPDATE log_end SET position = 1000")
    with pytest.raises(psycopg.errors.RaiseException, match="position 2 is not above 1000"):
        _append(node, "r2", stream="room:b")


def test_refs_are_forgotten_by_a_function_and_only_old_ones(node: Connection, superuser: Connection) -> None:
    _append(node, "r1")
    superuser.execute(
        "INSERT INTO refs VALUES ('bob', 'old', '', 'room:a', 1, now() - interval '7 days 1 second')"
    )
    assert node.execute("SELECT forget_refs(10)").fetchone() == (1,)
    assert superuser.execute("SELECT ref FROM refs").fetchall() == [("r1",)]


def test_every_definer_function_belongs_to_a_role_without_other_rights(superuser: Connection) -> None:
    rows = superuser.execute(
        """SELECT p.oid::regprocedure::text, p.proowner::regrole::text, p.proconfig
           FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace"""
    ).fetchall()
    assert len(rows) >= 6
    assert {owner for _, owner, _ in rows} == {"onrecord_definer"}
    assert [name for name, _, settings in rows if PATH not in settings] == []
    owned = superuser.execute(
        "SELECT count(*) FROM pg_class WHERE relowner = 'onrecord_definer'::regrole"
    ).fetchone()
    role = superuser.execute(
        """SELECT rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication
           FROM pg_roles WHERE rolname = 'onrecord_definer'"""
    ).fetchone()
    assert (owned, role) == ((0,), (False,))


def test_no_function_may_be_called_by_everyone(superuser: Connection) -> None:
    rows = superuser.execute(
        """SELECT p.oid::regprocedure::text FROM pg_proc p,
               aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
           WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0"""
    ).fetchall()
    assert rows == []


def test_the_owner_that_migrates_is_no_superuser(database: Database, superuser: Connection) -> None:
    owners = superuser.execute(
        """SELECT DISTINCT relowner::regrole::text FROM pg_class
           WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')"""
    ).fetchall()
    assert owners == [("onrecord_owner",)]
    with psycopg.connect(database.owner_url) as owner:
        assert owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
            False,
        )


def test_a_foreign_function_stops_the_migration_before_it_could_run(
    database: Database, superuser: Connection
) -> None:
    superuser.execute("GRANT CREATE ON SCHEMA public TO onrecord_projector")
    with psycopg.connect(database.worker_url, autocommit=True) as worker:
        worker.execute(PLANTED.format(schema="public").encode())
    with pytest.raises(
        ForeignObjects,
        match=r"holds function public.cardinality\(text\[\]\) of onrecord_worker\. Only",
    ):
        migrate(database.superuser_url, database.app_url, database.worker_url)
    assert superuser.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'onrecord_app'").fetchone() == (
        False,
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(database.worker_url) as worker:
        worker.execute("CREATE TABLE public.mine ()")


def test_a_login_with_both_jobs_keeps_working_with_one_address(database: Database) -> None:
    """An installation with two addresses, from before the projector had a login of its own."""
    migrate(database.owner_url, database.app_url)
    with psycopg.connect(database.app_url) as both:
        for table in ("seals", "read_models.messages_v2"):
            assert both.execute("SELECT has_table_privilege(%s, 'INSERT')", [table]).fetchone() == (True,)
        assert both.execute("SELECT has_table_privilege('stored_events', 'INSERT')").fetchone() == (False,)
    migrate(database.owner_url, database.app_url, database.worker_url)
    with psycopg.connect(database.app_url) as node:
        for table in ("seals", "read_models.messages_v2"):
            assert node.execute("SELECT has_table_privilege(%s, 'INSERT')", [table]).fetchone() == (False,)


def _append(connection: Connection, ref: str, stream: str = "room:a") -> None:
    connection.execute(
        """SELECT * FROM chat_append(ARRAY[%(stream)s], ARRAY[%(id)s::uuid], ARRAY['bob'], ARRAY[%(ref)s],
               ARRAY[''::bytea], ARRAY[0::bigint], ARRAY['*'], ARRAY[true], ARRAY[NULL::bigint], ARRAY[1],
               ARRAY['room.RoomOpened.v1'], ARRAY['settings'], ARRAY['{}'::bytea], ARRAY[NULL::uuid])""",
        {"stream": stream, "id": stream_id(stream), "ref": ref},
    )


async def test_migrate_names_a_foreign_function_in_a_sentence(
    database: Database, superuser: Connection
) -> None:
    superuser.execute("GRANT CREATE ON SCHEMA public TO onrecord_projector")
    with psycopg.connect(database.worker_url, autocommit=True) as worker:
        worker.execute(PLANTED.format(schema="public").encode())
    code, out, words = await run(environment(database), "migrate")
    assert (code, out) == (2, "")
    assert words.startswith("The schema public holds function public.cardinality(text[]) of onrecord_worker.")
    assert "Traceback" not in words


async def test_one_superusers_address_serves_projects_and_seals(servers: Servers) -> None:
    name = f"test_{uuid4().hex}"
    alone = database_named(servers, name).superuser_url
    with psycopg.connect(database_named(servers, "postgres").superuser_url, autocommit=True) as maintenance:
        maintenance.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            assert "0019_narrow_rights" in migrate(alone, alone)
            one = replace(database_named(servers, name), app_url=alone, owner_url=alone, worker_url=alone)
            env = environment(one)
            async with (
                running(env, "serve") as node,
                running(env, "project", "run"),
                client(node.url, "alice") as alice,
            ):
                await alice.join("general")
                await alice.post("general", "hello")
                while (await run(env, "audit", "checkpoint"))[0]:
                    await asyncio.sleep(0.1)
            code, found, _ = await run(env, "doctor")
            assert code == 1
            assert "This login is a superuser" in found
        finally:
            maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
