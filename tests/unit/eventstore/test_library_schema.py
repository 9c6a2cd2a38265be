"""The migrations repeat the tables of the `eventsourcing` library; an upgrade of the library cannot drift from them.

The library creates its tables in a schema of their own, and both are compared as Postgres describes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import ProgrammingError
from eventsourcing.postgres import (
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresTrackingRecorder,
)
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.support.servers.databases import Database

LIBRARY = "library"
OURS = "public"

ADDED_COLUMNS = {
    ("stored_events", "stream"): ("text", True, None),
    ("stored_events", "subject"): ("text", True, None),
    ("stored_events", "recorded_at"): ("timestamp with time zone", True, None),
    ("stored_events", "recorded_by"): ("text", True, None),
    ("stored_events", "key_id"): ("uuid", False, None),
}
MADE_REQUIRED = {("stored_events", "topic"), ("stored_events", "state")}
"""The library lets these be null and never writes a null."""
ADDED_INDEXES = {
    "stored_events_subject_idx": "CREATE INDEX stored_events_subject_idx ON SCHEMA.stored_events"
    " USING btree (originator_id, subject, originator_version)",
    "stored_events_recorded_at_idx": "CREATE INDEX stored_events_recorded_at_idx ON SCHEMA.stored_events"
    " USING brin (recorded_at)",
    "stored_events_rules_idx": "CREATE INDEX stored_events_rules_idx ON SCHEMA.stored_events"
    " USING btree (originator_id, originator_version) WHERE (topic = 'room.RoomRetentionChanged.v1'::text)",
    "stored_events_members_idx": "CREATE INDEX stored_events_members_idx ON SCHEMA.stored_events"
    " USING btree (subject, originator_id)"
    " WHERE (starts_with(stream, 'room:'::text) AND starts_with(subject, 'user:'::text))",
    "stored_events_people_idx": "CREATE INDEX stored_events_people_idx ON SCHEMA.stored_events"
    " USING btree (originator_id, topic, originator_version) WHERE starts_with(stream, 'person:'::text)",
    "stored_events_edits_idx": "CREATE INDEX stored_events_edits_idx ON SCHEMA.stored_events"
    " USING btree (originator_id, subject, originator_version) WHERE (topic = 'room.MessageEdited.v1'::text)",
    "stored_events_reactions_idx": "CREATE INDEX stored_events_reactions_idx ON SCHEMA.stored_events"
    " USING btree (originator_id, subject, originator_version)"
    " WHERE (topic = ANY (ARRAY['room.ReactionAdded.v1'::text, 'room.ReactionRemoved.v1'::text]))",
}
ADDED_TRIGGERS = {"append_only", "keep_report", "summarize_message"}
LEFT_OUT_FUNCTION = "es_insert_events_uuid"
"""The library's own way to insert loses events, and gets round `chat_append`."""


@dataclass(frozen=True)
class Shape:
    """What Postgres says about the library's tables and types in a schema."""

    columns: dict[tuple[str, str], tuple[str, bool, str | None]]
    keys: dict[str, set[str]]
    indexes: dict[str, str]
    options: dict[str, set[str]]
    attributes: dict[tuple[str, str], tuple[int, str]]
    triggers: set[str] = field(default_factory=set)


@pytest.fixture
def connection(database: Database) -> Iterator["psycopg.Connection"]:
    with psycopg.connect(database.superuser_url, autocommit=True) as made:
        yield made


@pytest.fixture
def theirs(database: Database, connection: "psycopg.Connection") -> Shape:
    """What the library's own statements make."""
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(LIBRARY)))
    with datastore(database, LIBRARY) as store:
        for recorder in (PostgresApplicationRecorder(store), PostgresTrackingRecorder(store)):
            recorder.create_table()
    return shape(connection, LIBRARY)


def datastore(database: Database, schema: str) -> PostgresDatastore:
    address: dict[str, Any] = {**conninfo_to_dict(database.superuser_url), "schema": schema}
    return PostgresDatastore(**address)


def test_our_columns_are_the_librarys_and_the_ones_listed(
    connection: "psycopg.Connection", theirs: Shape
) -> None:
    expected = {
        name: (kind, required or name in MADE_REQUIRED, default)
        for name, (kind, required, default) in theirs.columns.items()
    }
    assert shape(connection, OURS).columns == expected | ADDED_COLUMNS


def test_the_librarys_columns_come_first_and_in_its_order(
    connection: "psycopg.Connection", theirs: Shape
) -> None:
    """It inserts into the tracking table by place."""
    ours = [name for name in shape(connection, OURS).columns if name not in ADDED_COLUMNS]
    assert ours == [*theirs.columns]


def test_our_keys_are_the_librarys(connection: "psycopg.Connection", theirs: Shape) -> None:
    assert shape(connection, OURS).keys == theirs.keys
    assert theirs.keys["stored_events"] == {"PRIMARY KEY (originator_id, originator_version)"}


def test_our_indexes_are_the_librarys_and_the_ones_listed(
    connection: "psycopg.Connection", theirs: Shape
) -> None:
    assert shape(connection, OURS).indexes == theirs.indexes | ADDED_INDEXES


def test_our_storage_options_are_the_librarys(connection: "psycopg.Connection", theirs: Shape) -> None:
    assert shape(connection, OURS).options == theirs.options
    assert all(theirs.options.values()), "there is something to compare"


def test_our_composite_type_is_the_librarys(connection: "psycopg.Connection", theirs: Shape) -> None:
    assert shape(connection, OURS).attributes == theirs.attributes
    assert [name for _, name in theirs.attributes] == [
        "originator_id",
        "originator_version",
        "topic",
        "state",
    ]


def test_the_one_trigger_is_ours(connection: "psycopg.Connection", theirs: Shape) -> None:
    assert theirs.triggers == set()
    assert shape(connection, OURS).triggers == ADDED_TRIGGERS


def test_the_librarys_function_that_inserts_is_left_out(
    connection: "psycopg.Connection", theirs: Shape
) -> None:
    assert theirs.columns
    found = connection.execute(
        "SELECT pronamespace::regnamespace::text, proname FROM pg_proc WHERE proname ^@ 'es_'"
    )
    assert found.fetchall() == [(LIBRARY, LEFT_OUT_FUNCTION)]


def test_the_library_makes_nothing_that_is_not_compared(
    connection: "psycopg.Connection", theirs: Shape
) -> None:
    assert theirs.columns
    found = connection.execute(
        """SELECT relname, relkind FROM pg_class WHERE relnamespace = 'library'::regnamespace AND relkind <> 'i'
           ORDER BY relname"""
    ).fetchall()
    assert found == [
        ("notification_tracking", "r"),
        ("stored_event_uuid", "c"),
        ("stored_events", "r"),
        ("stored_events_notification_id_seq", "S"),
    ]


def test_positions_come_from_the_same_kind_of_sequence(
    connection: "psycopg.Connection", theirs: Shape
) -> None:
    assert theirs.columns
    rows = connection.execute(
        """SELECT schemaname, data_type, start_value, increment_by, max_value, cycle, cache_size FROM pg_sequences
           WHERE sequencename = 'stored_events_notification_id_seq' ORDER BY schemaname"""
    ).fetchall()
    assert [row[0] for row in rows] == [LIBRARY, OURS]
    assert rows[0][1:] == rows[1][1:]


def test_the_library_takes_our_tables_for_its_own_and_changes_nothing(
    database: Database, connection: "psycopg.Connection"
) -> None:
    """Without the row `__migration__` it would rename the tracking table."""
    positions = "SELECT * FROM notification_tracking ORDER BY 1"
    before = shape(connection, OURS), connection.execute(positions).fetchall()
    assert ("__migration__", 1) in before[1]
    with datastore(database, OURS) as store:
        PostgresTrackingRecorder(store).create_table()
    assert (shape(connection, OURS), connection.execute(positions).fetchall()) == before


def test_tracking_by_many_rows_is_refused_by_the_library(database: Database) -> None:
    address: dict[str, Any] = {**conninfo_to_dict(database.superuser_url), "single_row_tracking": False}
    with PostgresDatastore(**address) as store:
        recorder = PostgresTrackingRecorder(store)
        with pytest.raises(ProgrammingError, match="multi-row"), store.transaction() as cursor:
            recorder._check_has_multi_row_tracking_table(cursor)


def shape(connection: "psycopg.Connection", schema: str) -> Shape:
    tables = "relnamespace = %s::regnamespace AND relname IN ('stored_events', 'notification_tracking')"

    def ask(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query.replace("TABLES", tables).encode(), [schema]).fetchall()

    def plain(text: str | None) -> str | None:
        return (
            None
            if text is None
            else text.replace(f"{schema}.", "SCHEMA.").replace("'stored_", "'SCHEMA.stored_")
        )

    columns = ask(
        """SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
           FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
           LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
           WHERE TABLES ORDER BY relname, attnum"""
    )
    keys = ask(
        """SELECT relname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class t ON conrelid = t.oid
           WHERE TABLES AND contype <> 'n'"""
    )
    indexes = ask(
        """SELECT i.relname, pg_get_indexdef(i.oid) FROM pg_index JOIN pg_class i ON i.oid = indexrelid
           WHERE indrelid IN (SELECT oid FROM pg_class WHERE TABLES)"""
    )
    options = ask("SELECT relname, reloptions FROM pg_class WHERE TABLES")
    attributes = ask(
        """SELECT relname, attname, attnum, format_type(atttypid, atttypmod)
           FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
           WHERE relnamespace = %s::regnamespace AND relname = 'stored_event_uuid' ORDER BY attnum"""
    )
    triggers = ask(
        "SELECT tgname FROM pg_trigger JOIN pg_class t ON t.oid = tgrelid WHERE TABLES AND NOT tgisinternal"
    )
    return Shape(
        columns={
            (table, name): (kind, required, plain(default))
            for table, name, kind, required, default in columns
        },
        keys={table: {text for of, text in keys if of == table} for table, _ in keys},
        indexes={name: str(plain(text)) for name, text in indexes},
        options={table: set(values or ()) for table, values in options},
        attributes={(kind, name): (number, of) for kind, name, number, of in attributes},
        triggers={name for (name,) in triggers},
    )
