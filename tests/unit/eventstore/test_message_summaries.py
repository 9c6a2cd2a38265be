"""The summaries that the database maintains equal the fold of all facts, and readers of the past do bounded work."""

import json
from itertools import pairwise, product
from pathlib import Path

import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from migrations.run import MIGRATIONS
from service.domain.events import Event, MessageDeleted, MessageEdited, ReactionAdded, ReactionRemoved
from service.domain.message import MessageSummary
from service.domain.streams import room_stream, stream_id
from service.embedded import Servers
from service.eventstore.as_of_reader import _ABOUT_MESSAGES, AsOfReader
from service.eventstore.connections import PLANS, Connector
from service.eventstore.event_queries import MAX_REACTIONS, portions
from tests.support.eventstore.log_node import GENERAL, message, node, stored
from tests.support.oracles import histories
from tests.support.oracles.histories import ROOMS, USERS, Wish
from tests.support.oracles.messages import summarize
from tests.support.oracles.projected_log import world
from tests.support.servers.databases import Database, fresh_database

SUMMARIES = """
    SELECT originator_id, message, edits, last_edit, deleted, reactions, emoji::text FROM message_summaries
    ORDER BY originator_id, message
"""
PER_USER = "SELECT * FROM message_users ORDER BY originator_id, message, user_id"


def fill() -> str:
    """Return the statement with which the migration fills the summaries of a log that is there already."""
    (file,) = Path(MIGRATIONS, "sql").glob("*_message_summaries.sql")
    return file.read_text(encoding="utf-8").rpartition("-- The log so far")[2].partition("\n")[2]


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(wanted=histories.wishes)
async def test_a_summary_is_the_fold_of_all_facts(servers: Servers, wanted: list[Wish]) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            log = await here.log()
            for room in ROOMS:
                rows = [row for row in log if row.stream == room_stream(room)]
                for number, user in product(range(len(rows) + 2), USERS):
                    known = await here.node.log.about(room, number, user, with_content=True)
                    assert known == summarize(rows, number, user)
        tables = [await stored(database, query) for query in (SUMMARIES, PER_USER)]
        with psycopg.connect(database.superuser_url, autocommit=True) as owner:
            owner.execute("TRUNCATE message_summaries, message_users")
            owner.execute(fill().encode())
        assert [await stored(database, query) for query in (SUMMARIES, PER_USER)] == tables


async def test_a_damaged_row_is_about_no_message(database: Database) -> None:
    """It stops neither the append nor a later command about the message."""
    async with node(database) as one:
        await one.open_room("alice")
        number = (await one.append(message(), decided_on=2)).seq
        rows = [
            ("room.MessageEdited.v1", "message:x", b"{}"),
            ("room.ReactionAdded.v1", f"message:{number}", b"\xff"),
            ("room.ReactionAdded.v1", f"message:{number}", b'{"message":3,"emoji":"\\u0000"}'),
            ("room.MessagePinned.v1", "settings", b"[1]"),
        ]
        with psycopg.connect(database.superuser_url, autocommit=True) as owner:
            for seq, (topic, subject, state) in enumerate(rows, start=number + 1):
                owner.execute(
                    "INSERT INTO stored_events (originator_id, originator_version, topic, state, stream, subject,"
                    " recorded_at, recorded_by) VALUES (%s, %s, %s, %s, %s, %s, now(), 'alice')",
                    [stream_id(GENERAL), seq, topic, state, GENERAL, subject],
                )
        assert await one.log.about("general", number, "alice") == MessageSummary(author="alice")


@pytest.mark.parametrize("until", [0, 1])
async def test_readers_of_the_past_skip_edits_that_were_replaced(database: Database, until: int) -> None:
    """Fifty edits of 40 KB, and what is read of them as of a moment in the middle, or now, is one of them."""
    async with node(database) as one:
        await one.open_room("alice", "bob")
        number = (await one.append(message(), decided_on=3)).seq
        facts: list[tuple[str, Event]] = []
        for turn in range(50):
            facts.append(("alice", MessageEdited(message=number, content=f"{turn} " + "word " * 8000)))
            kind = ReactionRemoved if turn % 2 else ReactionAdded
            facts.append(("bob", kind(message=number, emoji="👍")))
        seqs = [(await one.append(fact, by=by, guard=(), decided_on=3)).seq for by, fact in facts]
        last = seqs[50] if until else seqs[-1]
        past = AsOfReader(one.pool, one.serializer)
        found = await past.about_messages("general", [number, number + 1, 10**6], last)
        edits = [recorded for recorded in found if isinstance(recorded.event, MessageEdited)]
        assert [recorded.seq for recorded in edits] == [last if until else seqs[-2]]
        assert len(found) == 2 + sum(
            isinstance(fact, ReactionAdded | ReactionRemoved) for _, fact in facts
        ) // (until + 1)
        await one.append(MessageDeleted(message=number), guard=(), decided_on=3)
        gone = await past.about_messages("general", [number], last + 1)
        kinds = {type(recorded.event).__name__ for recorded in gone}
        assert kinds == ({"MessagePosted", "MessageEdited", "ReactionAdded", "ReactionRemoved"} if until else {
            "MessagePosted", "MessageEdited", "MessageDeleted",
        })  # fmt: skip


async def test_the_past_of_a_message_is_read_by_index(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        number = (await one.append(message(), decided_on=2)).seq
        for turn in range(300):
            await one.append(MessageEdited(message=number, content=f"{turn}"), guard=(), decided_on=2)
        await stored(database, "ANALYZE stored_events")
        reader = await Connector(database.app_url, 20).connect(PLANS)
        plan = await reader.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_ABOUT_MESSAGES}", stream_id(GENERAL), [number], 200
        )
        await reader.close()
        top = json.loads(plan)[0]["Plan"]
        assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 50
        assert "stored_events_reactions_idx" in plan


@given(
    weights=st.dictionaries(st.integers(1, 300), st.integers(1, 2 * MAX_REACTIONS), max_size=40),
    numbers=st.lists(st.integers(1, 300), unique=True, max_size=200),
)
def test_portions_keep_the_order_and_are_small(weights: dict[int, int], numbers: list[int]) -> None:
    parts = portions(numbers, weights)
    assert [number for part in parts for number in part] == numbers
    for part in parts:
        assert len(part) == 1 or sum(weights.get(number, 0) for number in part) <= MAX_REACTIONS
    for part, following in pairwise(parts):
        assert sum(weights.get(number, 0) for number in [*part, following[0]]) > MAX_REACTIONS
