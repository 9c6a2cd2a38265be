"""Tables that a migration fills from others, since that is quicker, are what a fold of the log makes."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from alembic import command
from psycopg import sql

from migrations.run import _config, _grant_roles, _sqlalchemy_url, migrate
from projections import PROJECTIONS, unread_bitmaps
from projections.check import verify
from projections.engine.log_window import tracked
from service.domain.events import MessagePosted, RoomOpened
from service.embedded import Servers
from service.embedded.postgres import OWNER
from service.encryption.wrapping import Wrapping
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY
from tests.support.oracles import read_models
from tests.support.oracles.projected_log import World, world
from tests.support.projections.events import OPENED, deleted, joined, left, one_room, read, said
from tests.support.servers.databases import Database, _maintenance, database_named

TODAYS_NAMES = """
    CREATE VIEW open_keys AS SELECT key_id, person, scope, wrapped FROM person_keys;
    CREATE FUNCTION add_keys(new_ids uuid[], people text[], scopes text[], secrets bytea[])
    RETURNS TABLE (person text, scope text, key_id uuid, wrapped bytea)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
        INSERT INTO person_keys (key_id, person, scope, wrapped)
            SELECT * FROM unnest(new_ids, people, scopes, secrets) ON CONFLICT (person, scope) DO NOTHING;
        SELECT k.person, k.scope, k.key_id, k.wrapped
            FROM person_keys k JOIN unnest(people, scopes) AS wanted (person, scope) USING (person, scope)
    $$;
    CREATE TABLE key_encryption_keys (identifier bytea PRIMARY KEY);
    GRANT SELECT ON open_keys TO PUBLIC;
    GRANT SELECT, INSERT ON key_encryption_keys TO PUBLIC
"""
"""What today's code asks an old database for, as far as these tests need it."""


def upgrade(database: Database) -> list[str]:
    """Take the names of today away, and migrate."""
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("DROP VIEW open_keys; DROP FUNCTION add_keys; DROP TABLE key_encryption_keys")
    return migrate(database.owner_url, database.app_url, database.worker_url)


@pytest.fixture
def old_database(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database as an earlier version left it: that of the first read models, or the one that a test names."""
    database = database_named(servers, f"test_{uuid4().hex}")
    name = sql.Identifier(database.name)
    with _maintenance(servers) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(OWNER)))
    servers.postgres.hand_over(database.name)
    engine = sqlalchemy.create_engine(_sqlalchemy_url(database.owner_url), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        command.upgrade(_config(connection), getattr(request, "param", "0002_read_models"))
        _grant_roles(connection, database.app_url, database.worker_url)
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute(TODAYS_NAMES)
        noted = Wrapping(KEY_ENCRYPTION_KEY).identifiers[0]
        superuser.execute("INSERT INTO key_encryption_keys VALUES (%s)", [noted])
    yield database
    with _maintenance(servers) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


async def test_the_rows_of_the_first_versions_are_carried_over(old_database: Database) -> None:
    async with world(old_database) as here:
        await here.happen(
            OPENED, joined("bob"), said("one"), said("two", "bob", "alice"), left("bob"), read(4)
        )
        await fill_first_versions(here)
        await here.happen(said("not projected yet"))
        applied = upgrade(old_database)
        assert "0004_chat_actions" in applied
        for projection in (
            one
            for one in PROJECTIONS
            if one.name not in ("activity", "directory", "people", "profiles", "unread_markers")
        ):  # which are newer, and begin at 0 or at the end
            report = await verify(here.connection, here.node.serializer, projection)
            assert report["equal"], report
            assert report["position"] == 7
        row = await one_room(here, "alice")
        assert (row.unread, row.mentions, row.topic, row.archived, row.head) == (1, 1, None, False, 7)
        views = await here.connection.fetch(
            "SELECT content, deleted_at, reactions::text FROM messages ORDER BY id"
        )
        assert [tuple(view.values()) for view in views] == [("one", None, "[]"), ("two", None, "[]")]
        await here.project()
        with pytest.raises(LookupError):
            await tracked(here.connection, "messages_v1")


@pytest.mark.parametrize("old_database", ["0016_reach_by_index"], indirect=True)
async def test_tallies_follow_from_the_messages_that_were_there(
    old_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.engine.projection.SCHEMA", "public")  # where the read models stood then
    async with world(old_database) as here:
        talk = [
            said("a word", "bob" if n % 7 else "alice", *["alice", "bob", "carol"][: n % 4])
            for n in range(1100)
        ]
        gone = [deleted(number, "alice") for number in (4, 5, 6, 1023, 1024, 1025, 1100)]
        await here.happen(OPENED, joined("bob"), *talk, *gone)
        newer = ("tallies", "directory", "people", "profiles", "unread_markers")
        await here.project(*(one for one in PROJECTIONS if one.name not in newer))
        await here.happen(said("not projected yet", "bob"), deleted(8, "bob"))
        assert "0017_tallies" in upgrade(old_database)
        monkeypatch.undo()
        report = await verify(here.connection, here.node.serializer, unread_bitmaps.PROJECTION)
        assert report["equal"], report
        assert report["position"] == await here.head() - 2
        (wanted,) = read_models.summaries_of(await here.log(), "alice")
        row = await one_room(here, "alice")
        assert (row.unread, row.mentions) == (wanted.unread, wanted.mentions)


async def fill_first_versions(here: World) -> None:
    """What the version before would have made of the log, row by row; it is read as today, through a view of then."""
    await here.connection.execute(
        "CREATE TEMP VIEW readable_events AS SELECT *, state AS stored FROM stored_events"
    )
    for recorded in await here.log():
        event = recorded.event
        if isinstance(event, MessagePosted):
            await here.connection.execute(
                "INSERT INTO messages_v1 (room_id, id, user_id, content, created_at, reply_to, mentions, position, "
                "key_id) SELECT 'general', $1::bigint, $2, $3, $4, NULL, $5, $6, key_id FROM stored_events "
                "WHERE notification_id = $6",
                recorded.seq, event.author, event.content, recorded.at, list(event.mentions), recorded.position,
            )  # fmt: skip
        if isinstance(event, RoomOpened):
            await here.connection.execute(
                "INSERT INTO rooms_v1 VALUES ('general', 'General', 'public', $1, 'alice', 6, 5, NULL)",
                recorded.at,
            )
    await here.connection.execute(
        "UPDATE rooms_v1 SET last_message_at = (SELECT created_at FROM messages_v1 WHERE id = 5)"
    )
    times = {recorded.seq: recorded.at for recorded in await here.log() if recorded.stream == "room:general"}
    rows = [
        ("alice", "owner", 2, times[2], None, None),
        ("bob", "member", 3, times[3], 6, times[6]),
    ]
    await here.connection.executemany(
        "INSERT INTO memberships_v1 VALUES ('general', $1, $2, $3, $4, $5, $6)", rows
    )
    await here.connection.execute(
        "INSERT INTO read_receipts_v1 SELECT 'alice', 'general', recorded_at, 4 FROM stored_events "
        "WHERE notification_id = 7"
    )
    await here.connection.execute(
        "UPDATE notification_tracking SET notification_id = 7 WHERE application_name LIKE '%_v1'"
    )
    await here.connection.execute("DROP VIEW pg_temp.readable_events")
