"""What the doctor finds in a database: each fault is really made, and each sentence says what to do about it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations.privileges import NODE, PROJECTOR
from migrations.run import migrate
from service import doctor, embedded
from service.config.settings import Settings
from service.doctor import postgres
from service.doctor.finding import Finding, Level
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Swallowing, proxied

OTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="


async def examine(database: Database, **settings: str) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in await doctor.examine(Settings.from_env(environment(database, **settings))):
        found.setdefault(finding.name, []).append(finding)
    return found


def said(found: dict[str, list[Finding]], name: str) -> tuple[Level, str]:
    """Return the most severe finding under a name."""
    worst = max(found[name], key=lambda finding: list(Level).index(finding.level))
    return worst.level, worst.words


@pytest.fixture
def owner(database: Database) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        yield connection


def change(owner: "psycopg.Connection[Any]", database: Database, statement: str) -> None:
    owner.execute(sql.SQL(statement).format(sql.Identifier(database.name)))


async def test_nothing_is_wrong_with_a_database_as_migrations_leave_it(database: Database) -> None:
    found = await examine(database)
    bad = {name for name, findings in found.items() for one in findings if one.level is Level.FAIL}
    assert not bad
    assert found.keys() >= {
        *(
            "settings",
            "database",
            "durability",
            "privacy",
            "collation",
            "clock",
            "connections",
            "notices",
            "disk",
        ),
        *("schema", "grants", "append-only", "log", "order", "keys", "nodes", "projector", "sealer"),
    }


async def test_a_commit_that_does_not_wait_for_the_disk_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    change(owner, database, "ALTER ROLE onrecord_app IN DATABASE {} SET synchronous_commit = off")
    level, words = said(await examine(database), "durability")
    assert (level, words[:22]) == (Level.FAIL, "synchronous_commit off")
    found = await examine(database, ONRECORD_ALLOW_UNSAFE_DURABILITY="true")
    assert said(found, "durability")[0] is Level.WARN


@pytest.mark.parametrize("setting", ["log_min_duration_statement = 0", "log_statement = 'all'"])
async def test_a_server_that_logs_what_people_write_is_found(
    database: Database, owner: "psycopg.Connection[Any]", setting: str
) -> None:
    assert said(await examine(database), "privacy")[0] is Level.OK
    change(owner, database, f"ALTER ROLE onrecord_app IN DATABASE {{}} SET {setting}")
    level, words = said(await examine(database), "privacy")
    assert level is Level.WARN
    assert "log_parameter_max_length = 0" in words
    change(owner, database, "ALTER ROLE onrecord_app IN DATABASE {} SET log_parameter_max_length = 0")
    assert said(await examine(database), "privacy")[0] is Level.OK


def test_a_server_without_fsync_and_whole_pages_is_found(place: Path) -> None:
    with embedded.servers(place) as servers:
        with psycopg.connect(servers.superuser_database_url, autocommit=True) as owner:
            owner.execute("ALTER SYSTEM SET fsync = off")
            owner.execute("ALTER SYSTEM SET full_page_writes = off")
        servers.postgres.restart()
        found = _of_servers(servers)
    assert found["durability"].words.startswith("fsync and full_page_writes off")
    assert found["durability"].level is Level.FAIL
    assert "GiB" in found["disk"].words  # its files are on this machine, and its owner is known
    assert found["schema"].words.startswith("The database's schema is at nothing, ")


def _of_servers(servers: embedded.Servers) -> dict[str, Finding]:
    settings = Settings(
        database_url=servers.database_url, migrate_database_url=servers.superuser_database_url
    )
    return {finding.name: finding for finding in asyncio.run(doctor.examine(settings))}


async def test_a_schema_of_another_version_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    owner.execute("UPDATE alembic_version SET version_num = '0001_log'")
    level, words = said(await examine(database), "schema")
    assert level is Level.FAIL
    assert "is at 0001_log" in words
    assert "run `onrecord migrate`" in words


async def test_a_missing_grant_is_named(database: Database, owner: "psycopg.Connection[Any]") -> None:
    owner.execute("REVOKE SELECT ON holds FROM onrecord_node")
    owner.execute("REVOKE EXECUTE ON FUNCTION chat_append FROM onrecord_node")
    level, words = said(await examine(database), "grants")
    assert level is Level.FAIL
    assert words.startswith(
        "This login lacks SELECT on holds, EXECUTE on chat_append: run `onrecord migrate`"
    )


async def test_a_login_that_could_rewrite_the_record_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    owner.execute("GRANT UPDATE ON stored_events TO onrecord_app")
    level, words = said(await examine(database), "powers")
    assert level is Level.FAIL
    assert words.startswith("This login may change stored_events, so an intruder on a node can rewrite")
    found = await examine(database, ONRECORD_DATABASE_URL=database.superuser_url)
    assert said(found, "powers")[1].startswith(
        "This login is a superuser and may create roles and may act as "
    )
    found = await examine(database, ONRECORD_DATABASE_URL=database.owner_url)
    assert "and owns stored_events, seals, seal_nodes" in said(found, "powers")[1]


async def test_one_login_for_nodes_and_sealing_is_found(database: Database) -> None:
    migrate(database.owner_url, database.app_url)
    try:
        level, words = said(await examine(database, ONRECORD_PROJECTOR_DATABASE_URL=""), "powers")
    finally:  # roles are the whole server's
        migrate(database.owner_url, database.app_url, database.worker_url)
    assert level is Level.WARN
    assert words.startswith("onrecord_app serves and seals, ")


async def test_a_login_of_nodes_that_may_seal_is_found(database: Database) -> None:
    migrate(database.owner_url, database.app_url, database.app_url)
    try:
        level, words = said(await examine(database), "powers")
    finally:  # roles are the whole server's
        migrate(database.owner_url, database.app_url, database.worker_url)
    assert level is Level.WARN
    assert words.startswith("onrecord_app serves and may seal, ")
    assert said(await examine(database), "powers")[0] is Level.OK


async def test_a_database_open_to_other_installations_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    prefix = f"other_{uuid4().hex[:8]}"
    names = [sql.Identifier(f"{prefix}_{job}") for job in ("sealer", "definer")]
    for name in names:
        owner.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
    try:
        words = [each.words for each in (await examine(database))["powers"]]
        assert any(
            f"PUBLIC may connect to this database, and the cluster has other installations ({prefix})" in one
            for one in words
        )
        owner.execute(
            sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database.name))
        )
        owner.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO onrecord_app, onrecord_worker").format(
                sql.Identifier(database.name)
            )
        )
        assert not any("PUBLIC" in each.words for each in (await examine(database))["powers"])
    finally:
        for name in names:
            owner.execute(sql.SQL("DROP ROLE {}").format(name))


async def test_the_projectors_login_in_the_place_of_the_nodes_is_named(database: Database) -> None:
    found = await examine(
        database, ONRECORD_DATABASE_URL=database.worker_url, ONRECORD_PROJECTOR_DATABASE_URL=""
    )
    level, words = said(found, "grants")
    assert level is Level.FAIL
    assert "and may seal, so it is the projector's login: set ONRECORD_DATABASE_URL" in words
    assert "migrate" not in words


async def test_the_environment_of_a_node_does_not_have_the_projectors_login(database: Database) -> None:
    found = await examine(database, ONRECORD_PROJECTOR_DATABASE_URL="")
    advice = "set ONRECORD_PROJECTOR_DATABASE_URL to check it"
    assert [(one.level, one.words) for one in found["grants"]] == [
        (Level.OK, "This login may read the log and append to it."),
        (Level.OK, f"The projector's login is not checked; {advice}."),
    ]
    assert [(one.level, one.words) for one in found["powers"]] == [
        (Level.OK, "This login can neither change the record nor seal it.")
    ]


async def test_a_login_of_another_installation_with_the_same_roles_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    owner.execute("CREATE ROLE another_app LOGIN IN ROLE onrecord_node")
    try:
        level, words = said(await examine(database), "powers")
        assert level is Level.WARN
        assert words.startswith("another_app can connect and has the roles of this installation, ")
        change(owner, database, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
        change(owner, database, "GRANT CONNECT ON DATABASE {} TO onrecord_app")
        assert said(await examine(database), "powers")[0] is Level.OK
    finally:
        owner.execute("DROP ROLE another_app")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "GRANT CREATE ON SCHEMA public TO onrecord_projector",
            "onrecord_projector may create in the schema public",
        ),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "PUBLIC may create in the schema public"),
        ("ALTER FUNCTION chat_append RESET search_path", "lacks the search path of a definer"),
        (
            "ALTER FUNCTION chat_append SET search_path = public, pg_temp",
            "lacks the search path of a definer",
        ),
        ("ALTER FUNCTION chat_append OWNER TO postgres", "runs as a superuser"),
        ("ALTER FUNCTION chat_append OWNER TO onrecord_owner", "runs as the login onrecord_owner"),
        (
            "GRANT EXECUTE ON FUNCTION forget_refs TO PUBLIC",
            "forget_refs(integer) may be called by any login",
        ),
        (
            "CREATE FUNCTION read_models.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            "read_models.f() lacks the search path of a definer",
        ),
    ],
)
async def test_a_way_to_the_rights_of_a_function_is_found(
    database: Database, statement: str, words: str
) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute(statement.encode())
    level, found = said(await examine(database), "functions")
    assert level is Level.FAIL
    assert words in found


async def test_a_trigger_that_somebody_switched_off_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
    owner.execute("DROP TRIGGER append_only ON seals")
    level, words = said(await examine(database), "append-only")
    assert level is Level.FAIL
    assert "on stored_events, seals:" in words
    owner.execute("ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only")
    assert "on seals:" in said(await examine(database), "append-only")[1]


async def test_a_trigger_that_holds_for_some_sessions_only_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    owner.execute("ALTER TABLE stored_events ENABLE TRIGGER append_only")
    level, words = said(await examine(database), "append-only")
    assert level is Level.FAIL
    assert "is enabled on stored_events, but not ALWAYS" in words
    assert "ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only" in words
    owner.execute("ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only")
    assert said(await examine(database), "append-only")[0] is Level.OK


@pytest.mark.parametrize(
    ("position", "at"),
    [
        ("9200000000000000000", "'9999-01-01 00:00+00'"),
        ("9200000000000000000", "clock_timestamp()"),
        ("nextval('stored_events_notification_id_seq')", "clock_timestamp() + interval '1 day'"),
        ("0", "clock_timestamp()"),
    ],
)
async def test_a_row_ahead_of_the_log_is_found(
    database: Database, owner: "psycopg.Connection[Any]", position: str, at: str
) -> None:
    assert said(await examine(database), "order")[0] is Level.OK
    statement = f"""
        INSERT INTO stored_events (originator_id, originator_version, topic, state, notification_id, stream, subject,
            recorded_at, recorded_by)
        VALUES (gen_random_uuid(), 1, 'room.RoomArchived.v1', '', {position}, 'room:x', 'settings', {at}, 'x')
        RETURNING notification_id"""  # noqa: S608 - the owner writes SQL
    (made,) = owner.execute(statement.encode()).fetchone() or (None,)
    level, words = said(await examine(database), "order")
    assert level is Level.FAIL
    assert f"position {made} is ahead" in words
    assert "run `onrecord audit verify`" in words


async def test_a_seal_ahead_of_the_log_is_found(database: Database, owner: "psycopg.Connection[Any]") -> None:
    owner.execute(
        "INSERT INTO seals VALUES (1, 0, '{9200000000000000000}', decode(repeat('00', 32), 'hex'), '')"
    )
    level, words = said(await examine(database), "order")
    assert level is Level.FAIL
    assert "names position 9200000000000000000," in words


@pytest.mark.parametrize(
    ("roles", "tables"),
    [(["onrecord_node"], NODE), (["onrecord_projector", "onrecord_sealer"], PROJECTOR)],
)
async def test_the_tables_looked_at_are_those_that_the_migrations_grant(
    owner: "psycopg.Connection[Any]", roles: list[str], tables: dict[str, tuple[str, ...]]
) -> None:
    rows = owner.execute(
        """SELECT table_name, array_agg(DISTINCT privilege_type::text) FROM information_schema.role_table_grants
           WHERE grantee = ANY (%s) AND table_schema = 'public'
             AND table_name IN (SELECT relname FROM pg_class
                                WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)
           GROUP BY 1""",
        [roles],
    )
    assert {name: set(granted) for name, granted in rows} == {
        name: set(wanted) for name, wanted in tables.items()
    }


def level(found: dict[str, list[Finding]]) -> bool:
    """Whether projector and sealer have come as far as the log."""
    return all(" is 0 events behind." in one.words for one in found["projector"]) and (
        said(found, "sealer")[0] is Level.OK
    )


async def test_a_key_encryption_key_of_another_installation_is_found(database: Database) -> None:
    env = environment(database)
    async with running(env, "serve") as node, client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
        found = await examine(database)
        assert said(found, "keys") == (Level.OK, "ONRECORD_KEY_ENCRYPTION_KEY opens people's keys.")
        assert said(found, "nodes")[1].startswith("Nodes with a lease: 1 (")
        assert said(found, "projector")[0] is Level.FAIL
        assert said(found, "sealer")[0] is Level.FAIL
        async with running(env, "project", "run"):
            while not level(found):
                found = await examine(database)
    assert {said(found, name)[0] for name in ("projector", "sealer")} == {Level.OK}
    verdict, words = said(await examine(database, ONRECORD_KEY_ENCRYPTION_KEY=OTHER_KEY), "keys")
    assert (verdict, words[:52]) == (Level.FAIL, "ONRECORD_KEY_ENCRYPTION_KEY lacks a key with which t")


async def test_a_lock_of_the_sealer_in_other_hands_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    assert "locks" not in await examine(database)
    owner.execute("SET ROLE onrecord_analyst")
    owner.execute("SELECT pg_advisory_lock(7236112)")
    assert "locks" not in await examine(database), "the login counts, and this one may seal"
    login = f"analyst_{uuid4().hex}"
    owner.execute("RESET ROLE")
    owner.execute("SELECT pg_advisory_unlock_all()")
    owner.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' IN ROLE onrecord_analyst").format(sql.Identifier(login))
    )
    address = database.superuser_url.split("@")[1]
    try:
        with psycopg.connect(f"postgresql://{login}:x@{address}", autocommit=True) as analyst:
            for lock in ("7236112", "7236111, 1"):
                analyst.execute(f"SELECT pg_advisory_lock({lock})")
                verdict, words = said(await examine(database), "locks")
                assert (verdict, words.startswith(f"{login} (process ")) == (Level.WARN, True)
                analyst.execute("SELECT pg_advisory_unlock_all()")
    finally:
        owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


async def test_a_database_where_nothing_can_be_recorded_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    change(owner, database, "ALTER DATABASE {} SET default_transaction_read_only = on")
    assert said(await examine(database), "primary")[0] is Level.FAIL


async def test_a_collation_that_changed_under_the_indexes_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    owner.execute("UPDATE pg_database SET datcollversion = '0' WHERE datname = current_database()")
    level, words = said(await examine(database), "collation")
    assert level is Level.WARN
    assert "was version 0" in words
    assert "REINDEX" in words


async def test_a_database_that_does_not_hold_every_script_is_found(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    name = sql.Identifier(f"{database.name}_ascii")
    owner.execute(
        sql.SQL(
            "CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0 LOCALE_PROVIDER libc"
        ).format(name)
    )
    try:
        found = await examine(database, ONRECORD_DATABASE_URL=f"{database.app_url}_ascii")
    finally:
        owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    assert said(found, "collation")[0] is Level.FAIL
    assert said(found, "schema")[0] is Level.FAIL


@pytest.mark.parametrize(("ahead", "words"), [(90, "90.0 s ahead of"), (-5, "5.0 s behind")])
async def test_a_clock_that_goes_wrong_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, ahead: int, words: str
) -> None:
    monkeypatch.setattr(postgres, "now", lambda: datetime.now(UTC) + timedelta(seconds=ahead))
    level, sentence = said(await examine(database), "clock")
    assert level is Level.WARN
    assert words in sentence


async def test_a_pooler_that_lets_no_notice_through_is_found(database: Database) -> None:
    def swallowing(host: str, port: int) -> Swallowing:
        return Swallowing(host, port).about(b"onrecord_doctor_")

    async with proxied(database.app_url, swallowing) as (_, url):
        found = await examine(database, ONRECORD_DATABASE_URL=url, ONRECORD_DATABASE_TIMEOUT="2")
    level, words = said(found, "notices")
    assert level is Level.FAIL
    assert words.startswith("NOTIFY does not arrive, as behind a pooler")
    assert said(found, "schema")[0] is Level.OK, "the rest is looked at"


async def test_settings_that_will_be_regretted_are_told(database: Database) -> None:
    found = await examine(database, ONRECORD_REDIS_URL="", ONRECORD_BUS_KEY="")
    tokens = [finding.words for finding in found["tokens"]]
    assert any(words.startswith("ONRECORD_JWT_ISSUER and ONRECORD_JWT_AUDIENCE not set") for words in tokens)
    assert said(found, "bus")[1].startswith("ONRECORD_REDIS_URL is not set")
    assert {said(found, name)[0] for name in ("tokens", "bus")} == {Level.WARN}
    found = await examine(database, ONRECORD_REDIS_URL="redis://127.0.0.1:1/0", ONRECORD_BUS_KEY="")
    assert (said(found, "bus key")[0], found["bus key"][0].code) == (Level.FAIL, 2)


async def test_too_few_connections_for_another_node_are_found(database: Database) -> None:
    level, words = said(await examine(database, ONRECORD_POOL_SIZE="500"), "connections")
    assert level is Level.WARN
    assert "a node may open 1003" in words


@pytest.mark.parametrize(
    ("free", "level"), [(50, Level.OK), (10, Level.OK), (9, Level.WARN), (2, Level.WARN), (1, Level.FAIL)]
)
def test_a_disk_that_fills_up_is_found(free: int, level: Level) -> None:
    finding = postgres.judge_disk("12 MB", free * 2**30, 100 * 2**30)
    assert finding.level is level
    assert f"{free}.0 GiB ({free}%)" in finding.words
