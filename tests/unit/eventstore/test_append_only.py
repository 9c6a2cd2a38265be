"""The log is append-only for every role; and the application's role may do what it needs and nothing else."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations.privileges import NODE, PROJECTOR
from tests.support.servers.databases import Database

CHANGES = [
    "UPDATE stored_events SET topic = 'other'",
    "UPDATE stored_events SET state = '' WHERE originator_version = 1",
    "UPDATE stored_events SET topic = 'other' WHERE false",
    "DELETE FROM stored_events",
    "DELETE FROM stored_events WHERE false",
    "TRUNCATE stored_events",
    (
        "INSERT INTO stored_events SELECT * FROM stored_events"
        " ON CONFLICT (originator_id, originator_version) DO UPDATE SET state = ''"
    ),
    "MERGE INTO stored_events e USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
]

TABLES = {
    **{table: set(granted) for table, granted in NODE.items()},
    "refs": set(),
    "carried_until": set(),
    "log_end": {"SELECT"},
}
PRIVILEGES = {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"}
LOG_TABLES = sorted(TABLES)


@pytest.fixture
def owner(database: Database) -> Iterator["psycopg.Connection"]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO stored_events
               (originator_id, originator_version, topic, state, stream, subject, recorded_at, recorded_by)
               VALUES (%s, 1, 'room.RoomOpened.v1', '{}', 'room:general', 'settings', now(), 'alice')""",
            [uuid4()],
        )
        yield connection


@pytest.fixture
def application(database: Database, owner: "psycopg.Connection") -> Iterator["psycopg.Connection"]:
    assert owner is not None, "there is a row to change"
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("change", CHANGES)
def test_the_owner_cannot_change_the_log(owner: "psycopg.Connection", change: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="the log is append-only"):
        owner.execute(change.encode())
    assert _rows(owner) == 1


@pytest.mark.parametrize("change", CHANGES)
def test_the_application_may_not_change_the_log(application: "psycopg.Connection", change: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        application.execute(change.encode())
    assert _rows(application) == 1


@pytest.mark.parametrize(
    "circumvention",
    [
        "ALTER TABLE stored_events DISABLE TRIGGER append_only",
        "DROP TRIGGER append_only ON stored_events",
        "ALTER TABLE stored_events ADD COLUMN other text",
        "DROP TABLE stored_events",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "SET ROLE postgres",
        "SELECT setval('stored_events_notification_id_seq', 1)",
        "ALTER ROLE onrecord_app SUPERUSER",
        "CREATE ROLE other",
    ],
)
def test_the_application_cannot_get_round_it(application: "psycopg.Connection", circumvention: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        application.execute(circumvention.encode())


@pytest.mark.parametrize("change", CHANGES)
def test_the_log_stays_as_it_is_in_a_session_that_replicates(
    database: Database, owner: "psycopg.Connection", change: str
) -> None:
    assert _rows(owner) == 1
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="the log is append-only"):
            superuser.execute(change.encode())


def test_subjects_are_in_byte_order_whatever_the_locale_of_the_database(owner: "psycopg.Connection") -> None:
    # By the rules of English, 'user:alice' sorts after 'user;', and a range of users would be empty.
    collation = owner.execute(
        """SELECT collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
           WHERE attrelid = 'stored_events'::regclass AND attname = 'subject'"""
    ).fetchone()
    assert collation == ("C",)


@pytest.mark.parametrize("table", LOG_TABLES)
def test_the_application_has_exactly_the_privileges_it_needs(
    application: "psycopg.Connection", table: str
) -> None:
    held = {
        privilege
        for privilege in PRIVILEGES
        if application.execute("SELECT has_table_privilege(%s, %s)", [table, privilege]).fetchone() == (True,)
    }
    assert held == TABLES[table]


def test_no_table_is_left_out_of_the_list(owner: "psycopg.Connection") -> None:
    found = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    of_the_log = {name for (name,) in found if not _is_a_read_model(owner, name)}
    assert of_the_log == set(TABLES) - {"notification_tracking"}


@pytest.mark.parametrize("table", sorted(set(TABLES) | {"read_models.messages_v2"}))
def test_the_projectors_login_has_exactly_the_privileges_it_needs(database: Database, table: str) -> None:
    with psycopg.connect(database.worker_url) as worker:
        held = {
            privilege
            for privilege in PRIVILEGES
            if worker.execute("SELECT has_table_privilege(%s, %s)", [table, privilege]).fetchone() == (True,)
        }
    assert held == (PRIVILEGES if "." in table else set(PROJECTOR.get(table, ())))


def _is_a_read_model(owner: "psycopg.Connection", table: str) -> bool:
    """A read model is a table that the projector may empty; it can be built again from the log."""
    answer = owner.execute(
        "SELECT has_table_privilege('onrecord_projector', %s, 'DELETE')", [table]
    ).fetchone()
    return answer == (True,)


def test_the_narrow_roles_cannot_log_in_and_rule_nothing(owner: "psycopg.Connection") -> None:
    roles = owner.execute(
        """SELECT rolname, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
           FROM pg_roles WHERE rolname IN
               ('onrecord_node', 'onrecord_projector', 'onrecord_sealer', 'onrecord_definer')"""
    ).fetchall()
    assert sorted(roles) == [
        ("onrecord_definer", False),
        ("onrecord_node", False),
        ("onrecord_projector", False),
        ("onrecord_sealer", False),
    ]


@pytest.mark.parametrize(
    ("role", "may"), [("onrecord_node", True), ("onrecord_projector", False), ("public", False)]
)
def test_only_nodes_may_append(owner: "psycopg.Connection", role: str, may: bool) -> None:  # noqa: FBT001 - a table
    answer = owner.execute(
        "SELECT has_function_privilege(%s, oid, 'EXECUTE') FROM pg_proc WHERE proname = 'chat_append'", [role]
    ).fetchone()
    assert answer == (may,)


@pytest.mark.parametrize("role", ["onrecord_node", "onrecord_projector", "onrecord_sealer"])
def test_only_the_projector_moves_positions_and_no_role_inserts_events(
    owner: "psycopg.Connection", role: str
) -> None:
    with owner.transaction():
        owner.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        moves = owner.execute("SELECT has_table_privilege('notification_tracking', 'UPDATE')").fetchone()
        inserts = owner.execute("SELECT has_table_privilege('stored_events', 'INSERT')").fetchone()
    assert (moves, inserts) == (((role == "onrecord_projector"),), (False,))


def _rows(connection: "psycopg.Connection") -> int:
    row = connection.execute(
        "SELECT count(*) FROM stored_events WHERE topic = 'room.RoomOpened.v1'"
    ).fetchone()
    assert row is not None
    return int(row[0])
