"""What analysts see: stable, described views, and nothing else of the database."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from projections import profiles
from projections.check import verify
from service.audit.privacy.erasure import erase
from service.domain.events import MessageEdited, RoomOpened
from service.domain.streams import room_stream
from tests.support.audit.retention import fill, run
from tests.support.oracles.projected_log import World
from tests.support.projections.events import GENERAL, OPENED, deleted, joined, left, named, read, said
from tests.support.projections.views import VIEWS

if TYPE_CHECKING:
    Analyst = asyncpg.Connection[Any]

PAGE = (Path(__file__).parent.parent.parent.parent / "docs" / "guides" / "analyse-read-models.md").read_text()


@pytest.fixture
async def analyst(here: World) -> AsyncIterator["Analyst"]:
    """A login made as the documentation says."""
    name, password = f"ada_{uuid4().hex}", uuid4().hex
    recipe = re.findall(r"```sql\n(CREATE ROLE ada .*?)```", PAGE, re.DOTALL)[0]
    statements = recipe.replace("ada", name).replace("a long random password", password)
    await here.as_owner(statements)
    address = here.database.superuser_url.split("@")[1]
    connection = await asyncpg.connect(f"postgresql://{name}:{password}@{address}")
    try:
        yield connection
    finally:
        await connection.close()
        await here.as_owner(f"DROP ROLE {name}")


async def test_the_views_show_what_happened(here: World, analyst: "Analyst") -> None:
    await here.happen(
        OPENED, joined("bob"), said("one"), said("two", "bob", "alice"), read(4, "bob"), left("bob")
    )
    await here.project()
    rows = {view: await analyst.fetch(f"SELECT * FROM analytics.{view} ORDER BY 1, 2, 3") for view in VIEWS}  # noqa: S608 - ours
    assert [
        (row["message_id"], row["user_id"], row["content"], row["mentions"]) for row in rows["messages"]
    ] == [
        (4, "alice", "one", []),
        (5, "bob", "two", ["alice"]),
    ]
    assert [(row["user_id"], row["role"], row["left_seq"]) for row in rows["memberships"]] == [
        ("alice", "owner", None),
        ("bob", "member", 6),
    ]
    assert [(row["user_id"], row["last_read_message_id"]) for row in rows["read_receipts"]] == [("bob", 4)]
    assert [(row["room_id"], row["name"], row["head"]) for row in rows["rooms"]] == [
        ("general", "General", 6)
    ]
    assert [(row["user_id"], row["messages"]) for row in rows["daily_activity"]] == [("alice", 1), ("bob", 1)]


async def test_people_have_their_names_and_erased_ones_none(here: World, analyst: "Analyst") -> None:
    await here.happen(
        OPENED, named("alice", "Alice Ng"), joined("bob"), named("bob", "B\u202eob"), named("carol", None)
    )
    await here.project()
    query = (
        "SELECT user_id, name, named_at IS NOT NULL, erased_at IS NOT NULL FROM analytics.people ORDER BY 1"
    )
    assert [tuple(row) for row in await analyst.fetch(query)] == [
        ("alice", "Alice Ng", True, False),
        ("bob", "Bob", True, False),
        ("carol", None, True, False),
    ]
    await erase(here.node.pool, "alice", ground="g", by="root", deadline=20)
    assert tuple((await analyst.fetch(query))[0]) == ("alice", None, True, False), (
        "before the projector is there"
    )
    assert (await here.rows(profiles.PROJECTION))[0]["name"] == "Alice Ng"
    await here.project()
    assert tuple((await analyst.fetch(query))[0]) == ("alice", None, True, True)
    assert (await here.rows(profiles.PROJECTION))[0]["name"] is None
    report = await verify(here.connection, here.node.serializer, profiles.PROJECTION)
    assert report["equal"], report


async def test_why_content_is_null(here: World, analyst: "Analyst") -> None:
    await here.happen(
        OPENED,
        joined("bob"),
        joined("carol"),
        *(said(text, by) for text, by in (("kept", "alice"), ("mine", "bob"), ("gone", "alice"))),
        deleted(7),
        ("alice", GENERAL, (MessageEdited(message=5, content="kept, edited"),)),
    )
    await here.project()
    await erase(here.node.pool, "bob", ground="g", by="root", deadline=20)
    query = "SELECT content, content_missing, edited_at IS NOT NULL, deleted_at IS NOT NULL FROM analytics.messages"
    for _ in range(2):  # before the projector has reached the erasure, and after it
        found = [tuple(row) for row in await analyst.fetch(f"{query} ORDER BY message_id")]
        assert found == [
            ("kept, edited", None, True, False),
            (None, "erased", False, False),
            (None, "deleted", False, True),
        ]
        await here.project()


async def test_counts_are_whole_numbers_and_never_null(here: World, analyst: "Analyst") -> None:
    await here.happen(OPENED, ("alice", room_stream("empty"), (RoomOpened(name="Empty"),)), said("one"))
    await here.project()
    for view, columns in (
        ("rooms", ("messages", "members")),
        ("daily_totals", ("messages", "writers", "rooms")),
    ):
        for row in await analyst.fetch(f"SELECT * FROM analytics.{view}"):  # noqa: S608 - ours
            assert all(type(row[column]) is int for column in columns), row
    assert (
        await analyst.fetch(
            "SELECT 1 FROM information_schema.columns WHERE table_schema = 'analytics' AND data_type = 'numeric'"
        )
        == []
    )
    rows = await analyst.fetch("SELECT messages, members FROM analytics.rooms ORDER BY room_id")
    assert [tuple(row) for row in rows] == [(0, 0), (1, 1)]


async def test_counts_of_the_views_agree_with_the_log(here: World, analyst: "Analyst") -> None:
    await here.happen(
        OPENED, joined("bob"), *(said(f"no. {number}") for number in range(20)), said("x", "bob")
    )
    await here.project()
    log = await here.log()
    assert await analyst.fetchval("SELECT count(*) FROM analytics.messages") == 21
    assert await analyst.fetchval("SELECT sum(messages) FROM analytics.daily_activity") == 21
    assert await analyst.fetchval("SELECT max(head) FROM analytics.rooms") == len(log)


async def test_words_whose_key_is_destroyed_do_not_show(here: World, analyst: "Analyst") -> None:
    await here.happen(OPENED, joined("bob"), said("my words"), said("other words", "bob"))
    await here.project()
    await here.as_owner("DELETE FROM person_keys WHERE person = 'alice'")
    found = await analyst.fetch("SELECT content FROM analytics.messages ORDER BY message_id")
    assert [row["content"] for row in found] == [None, "other words"]
    assert await analyst.fetchval("SELECT count(*) FROM analytics.messages WHERE content LIKE '%my%'") == 0


async def test_words_that_were_carried_over_show_and_those_that_expired_do_not(
    here: World, analyst: "Analyst"
) -> None:
    await fill(here.node, here.database)
    await here.project()
    await run(here.node)
    for _ in range(2):  # at once, and when the projector has come past it
        query = "SELECT content, content_missing FROM analytics.messages ORDER BY room_id, message_id"
        found = await analyst.fetch(query)
        assert [row["content"] for row in found] == [None, None, None, "recent", "elsewhere"]
        assert [row["content_missing"] for row in found] == [*["expired"] * 3, None, None]
        await here.project()


async def test_an_analyst_can_select_the_views_and_nothing_else(analyst: "Analyst") -> None:
    relations = await analyst.fetch(
        "SELECT c.oid AS number, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
        "AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')"
    )
    numbers = {(row["schema"], row["name"]): row["number"] for row in relations}
    names = set(numbers)
    assert {("public", "stored_events"), ("public", "person_keys"), ("public", "messages")} <= names
    for schema, name in sorted(names):
        allowed = schema == "analytics" and name in VIEWS
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            # By its number: a name in a schema that this login may not use cannot be looked up.
            has = await analyst.fetchval(
                "SELECT has_table_privilege($1::oid, $2)", numbers[schema, name], privilege
            )
            assert has is (allowed and privilege == "SELECT"), (schema, name, privilege)
    assert {name for schema, name in names if schema == "analytics"} == set(VIEWS)
    callable_ones = await analyst.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace IN ('public'::regnamespace, 'analytics'::regnamespace) "
        "AND prorettype <> 'trigger'::regtype AND has_function_privilege(oid, 'EXECUTE')"
    )
    assert callable_ones == []
    for schema in ("public", "analytics", "read_models"):
        assert not await analyst.fetchval("SELECT has_schema_privilege($1, 'CREATE')", schema)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.stored_events",
        "SELECT * FROM public.person_keys",
        "SELECT * FROM public.refs",
        "SELECT * FROM public.messages",
        "SELECT * FROM public.activity_v1",
        "SELECT * FROM read_models.messages",
        "SELECT * FROM public.notification_tracking",
        "SELECT nextval('public.stored_events_notification_id_seq')",
        "INSERT INTO analytics.rooms (room_id) VALUES ('x')",
        "UPDATE analytics.memberships SET role = 'owner'",
        "DELETE FROM analytics.daily_activity",
        "CREATE TABLE analytics.mine (x integer)",
        "CREATE TABLE public.mine (x integer)",
        "CREATE SCHEMA mine",
        "SET ROLE onrecord_node",
        "SET ROLE onrecord_projector",
        "DROP VIEW analytics.rooms",
    ],
)
async def test_an_analyst_is_refused_the_rest(analyst: "Analyst", statement: str) -> None:
    await analyst.execute("SET default_transaction_read_only = off")  # what every caller can compute
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await analyst.execute(statement)


async def test_every_view_and_column_is_described_and_documented(here: World) -> None:
    described = await here.connection.fetch(
        "SELECT c.relname AS view, obj_description(c.oid) AS meaning, a.attname AS column, "
        "col_description(c.oid, a.attnum) AS says FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'analytics'::regnamespace AND a.attnum > 0 ORDER BY c.relname, a.attnum"
    )
    assert {row["view"] for row in described} == set(VIEWS)
    for row in described:
        assert row["meaning"], row["view"]
        assert row["says"], (row["view"], row["column"])
        section = PAGE.split(f"### `{row['view']}`")[1].split("\n### ")[0]
        assert f"| `{row['column']}` |" in section, (row["view"], row["column"])
        assert row["says"] in section, (row["view"], row["column"])


async def test_every_example_query_runs(here: World, analyst: "Analyst") -> None:
    await here.happen(OPENED, joined("bob"), said("one"), said("two", "bob", "alice"), read(4, "bob"))
    await here.project()
    examples = PAGE.split("## Example queries")[1]
    queries = re.findall(r"```sql\n(.*?)```", examples, re.DOTALL)
    assert len(queries) >= 5
    for query in queries:
        assert await analyst.fetch(query), query
