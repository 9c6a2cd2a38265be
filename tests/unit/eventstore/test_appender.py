"""`chat_append` and the appender, against a real Postgres: what is placed, refused, known, and sent again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import msgspec
import psycopg
import pytest

from service.domain.events import MemberJoined, MemberLeft, MessagePosted, RoleChanged
from service.domain.streams import EVERY_USER, SETTINGS, WHOLE_STREAM, room_stream
from service.errors import Overloaded, Unavailable
from service.eventstore import appender
from tests.support.eventstore.log_node import GENERAL, Node, message, node, seqs, stored
from tests.support.servers.databases import Database
from tests.support.servers.lost_replies import proxied
from tests.support.waiting import until

LOCK = 7236109


@asynccontextmanager
async def holding_the_lock(database: Database) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Keep every writer out for as long as a `with` block lasts."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        yield connection
    finally:
        await connection.close()


@contextmanager
def as_owner(database: Database) -> Iterator["psycopg.Connection"]:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        yield connection


async def waiting_writers(connection: "asyncpg.Connection[Any]") -> list[int]:
    """Return the processes that wait for the append lock."""
    rows = await connection.fetch("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    return [row[0] for row in rows]


# Placing


async def test_batch_events_are_appended_in_order_without_gaps(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        entries = [await one.entry(message(str(n)), decided_on=2) for n in range(50)]
        placed = await asyncio.gather(*map(one.appender.offer, entries))
        assert [answer.seq for answer in placed] == list(range(3, 53))
        assert {answer.outcome for answer in placed} == {"appended"}
        log = await one.log.stream(GENERAL, 0, 100)
        assert [recorded.seq for recorded in log] == list(range(1, 53))
        said = [recorded.event.content for recorded in log if isinstance(recorded.event, MessagePosted)]
        assert said == [str(n) for n in range(50)]
        assert len(one.news) == 2, "what queued up goes into one batch"


async def test_streams_in_one_batch_are_numbered_each_by_itself(database: Database) -> None:
    async with node(database) as one:
        rooms = [room_stream(f"room{n % 3}") for n in range(9)]
        entries = [await one.entry(MemberJoined(user=f"u{n}"), stream=room) for n, room in enumerate(rooms)]
        placed = await asyncio.gather(*map(one.appender.offer, entries))
        assert [answer.seq for answer in placed] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        positions = [
            row[0] for row in await stored(database, "SELECT notification_id FROM stored_events ORDER BY 1")
        ]
        assert all(before < after for before, after in pairwise(positions))


async def test_a_message_is_the_subject_of_its_own_number(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        placed = await one.append(message(), decided_on=2)
        (recorded,) = await one.log.stream(GENERAL, 2, 1)
        assert recorded.subject == f"message:{placed.seq}" == "message:3"
        assert one.news[-1] == {GENERAL: [recorded]}, "what is delivered from memory is what the log holds"


async def test_several_events_of_a_command_are_all_or_none(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        stale = await one.append(
            RoleChanged(user="bob", role="owner"),
            MemberLeft(user="alice"),
            decided_on=0,
            guard=(SETTINGS, EVERY_USER),
        )
        assert stale.outcome == "stale"
        assert await seqs(database) == [1, 2, 3]
        done = await one.append(
            RoleChanged(user="bob", role="owner"),
            MemberLeft(user="alice"),
            decided_on=3,
            guard=(SETTINGS, EVERY_USER),
        )
        assert (done.outcome, done.seq) == ("appended", 5)
        assert await seqs(database) == [1, 2, 3, 4, 5]


async def test_a_command_that_fails_half_way_leaves_no_event_behind(database: Database) -> None:
    with as_owner(database) as owner:
        owner.execute("ALTER TABLE stored_events ADD CONSTRAINT no_mallory CHECK (subject <> 'user:mallory')")
    async with node(database) as one:
        with pytest.raises(Unavailable):
            await one.append(MemberJoined(user="bob"), MemberJoined(user="mallory"))
        assert await seqs(database) == []
        assert (await one.append(MemberJoined(user="bob"))).seq == 1


async def test_command_without_events_returns_head_and_is_remembered(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        first = await one.append(ref="join-again", decided_on=2)
        assert (first.outcome, first.seq) == ("nothing", 2)
        assert first.at is not None
        await one.append(message(), decided_on=2)
        again = await one.append(ref="join-again", decided_on=3)
        assert again == msgspec.structs.replace(first, outcome="known")


async def test_one_notice_is_given_per_batch_and_names_its_last_position(database: Database) -> None:
    heard: list[str] = []
    listener = await asyncpg.connect(database.app_url)
    await listener.add_listener(
        "stored_events", lambda _connection, _pid, _channel, payload: heard.append(str(payload))
    )
    async with node(database) as one, holding_the_lock(database) as blocker:
        first = one.appender.offer(await one.entry(MemberJoined(user="alice")))
        await until(lambda: waiting_writers(blocker))
        rest = [one.appender.offer(await one.entry(MemberJoined(user=f"u{n}"), guard=())) for n in range(20)]
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await asyncio.gather(first, *rest)
        await until(lambda: len(heard) >= 2)
        await one.append(ref="nothing happened", decided_on=21)
        assert (await one.append(MemberJoined(user="last"), decided_on=21)).seq == 22
        await until(lambda: len(heard) >= 3)
    await listener.close()
    positions = [
        row[0] for row in await stored(database, "SELECT notification_id FROM stored_events ORDER BY 1")
    ]
    assert heard == [str(positions[0]), str(positions[-2]), str(positions[-1])]


# Refs


async def test_a_known_ref_is_answered_as_before(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        first = await one.append(message(), ref="once", decided_on=2)
        await one.append(message("something else"), decided_on=3)
        again = await one.append(message(), ref="once", decided_on=2)
        assert again == msgspec.structs.replace(first, outcome="known")
        assert await seqs(database) == [1, 2, 3, 4]


async def test_a_known_ref_is_answered_as_before_on_another_node(database: Database) -> None:
    async with node(database) as one, node(database) as two:
        await one.open_room("alice")
        first = await one.append(message(), ref="once", decided_on=2)
        again = await two.append(message(), ref="once", decided_on=2)
        assert again == msgspec.structs.replace(first, outcome="known")


async def test_a_ref_sent_to_two_nodes_at_once_is_placed_once(database: Database) -> None:
    async with node(database) as one, node(database) as two, holding_the_lock(database) as blocker:
        sent = [
            each.appender.offer(await each.entry(MemberJoined(user="alice"), ref=f"r{n}", guard=()))
            for n in range(20)
            for each in (one, two)
        ]
        await until(lambda: _two_wait(blocker))
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        placed = await asyncio.gather(*sent)
        for ours, theirs in zip(placed[::2], placed[1::2], strict=True):
            assert {ours.outcome, theirs.outcome} == {"appended", "known"}
            assert (ours.seq, ours.at) == (theirs.seq, theirs.at)
    assert await seqs(database) == list(range(1, 21))


async def _two_wait(connection: "asyncpg.Connection[Any]") -> bool:
    return len(await waiting_writers(connection)) == 2


async def test_a_ref_that_comes_twice_in_one_batch_is_placed_once(database: Database) -> None:
    async with node(database) as one:
        entry = await one.entry(MemberJoined(user="alice"), ref="once")
        placed = await asyncio.gather(one.appender.offer(entry), one.appender.offer(entry))
        assert [answer.outcome for answer in placed] == ["appended", "known"]
        assert [answer.seq for answer in placed] == [1, 1]


async def test_the_same_ref_with_another_command_is_a_conflict(database: Database) -> None:
    async with node(database) as one:
        await one.append(MemberJoined(user="alice"), ref="once")
        answer = await one.append(MemberJoined(user="bob"), ref="once", decided_on=1)
        assert answer.outcome == "conflict"
        assert await seqs(database) == [1]


async def test_a_ref_belongs_to_its_user(database: Database) -> None:
    async with node(database) as one:
        await one.append(MemberJoined(user="alice"), ref="once", by="alice")
        placed = await one.append(MemberJoined(user="bob"), ref="once", by="bob")
        assert (placed.outcome, placed.seq) == ("appended", 2)


@pytest.mark.parametrize("why", ["stale", "refused", "key_gone"])
async def test_nothing_is_refused_before_the_ref_is_looked_up(database: Database, why: str) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        first = await one.append(message(), ref="once", decided_on=2)
        retry = await one.entry(message(), ref="once", decided_on=2)
        if why == "stale":
            await one.append(MemberLeft(user="alice"), decided_on=3)
        elif why == "refused":
            retry = await one.entry(ref="once", decided_on=3, record=False)
            retry = msgspec.structs.replace(retry, fingerprint=(await one.entry(message())).fingerprint)
        else:
            with as_owner(database) as owner:
                owner.execute("DELETE FROM person_keys")
        answer = await one.appender.offer(retry)
        assert answer == msgspec.structs.replace(first, outcome="known")


async def test_a_refusal_is_confirmed_where_the_ref_is_new_and_leaves_no_trace(database: Database) -> None:
    async with node(database) as one:
        answer = await one.append(ref="refused", record=False)
        assert answer.outcome == "refused"
        assert await stored(database, "SELECT * FROM refs") == []
        assert one.news == [{}]
        assert (await one.append(MemberJoined(user="alice"), ref="refused")).outcome == "appended"


@pytest.mark.parametrize("outcome", ["stale", "key_gone"])
async def test_a_command_that_was_not_placed_may_be_sent_again_with_its_ref(
    database: Database, outcome: str
) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        if outcome == "key_gone":
            await one.keys.of_person("alice", one.pool)
            with as_owner(database) as owner:
                owner.execute("DELETE FROM person_keys")
        assert (
            await one.append(message(), ref="r", decided_on=0 if outcome == "stale" else 2)
        ).outcome == outcome
        one.keys.forget("alice")
        assert (await one.append(message(), ref="r", decided_on=2)).outcome == "appended"


# Guards


@pytest.mark.parametrize(
    ("since", "guard", "outcome"),
    [
        ("user:alice", ("settings", "user:alice"), "stale"),
        ("user:bob", ("settings", "user:alice"), "appended"),
        ("user:alice2", ("settings", "user:alice"), "appended"),
        ("user:alic", ("settings", "user:alice"), "appended"),
        ("settings", ("settings", "user:alice"), "stale"),
        ("message:3", ("settings", "user:alice"), "appended"),
        ("message:3", ("settings", "message:3"), "stale"),
        ("message:3", ("message:33",), "appended"),
        ("user:bob", ("settings", "user:*"), "stale"),
        ("message:3", ("settings", "user:*"), "appended"),
        ("settings", ("user:*",), "appended"),
        ("users", ("user:*",), "appended"),
        ("message:3", ("*",), "stale"),
        ("user:bob", ("*",), "stale"),
        ("settings", ("*",), "stale"),
        ("settings", (), "appended"),
        (None, ("*",), "appended"),
    ],
)
async def test_a_guarded_subject_makes_a_command_stale_and_no_other_does(
    database: Database, since: str | None, guard: tuple[str, ...], outcome: str
) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        if since is not None:
            entry = await one.entry(MemberJoined(user="anybody"), decided_on=3)
            other = msgspec.structs.replace(
                entry, stored=(msgspec.structs.replace(entry.stored[0], subject=since),)
            )
            await one.appender.offer(other)
        placed = await one.append(message(), decided_on=3, guard=guard)
        assert placed.outcome == outcome


async def test_what_happened_before_the_decision_makes_nothing_stale(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        assert (await one.append(message(), decided_on=2, guard=(WHOLE_STREAM,))).outcome == "appended"


async def test_a_decision_on_more_than_the_log_holds_is_stale(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        assert (await one.append(message(), decided_on=3, guard=())).outcome == "stale"


async def test_a_command_of_the_same_batch_counts_as_having_happened(database: Database) -> None:
    async with node(database) as one:
        join = await one.entry(MemberJoined(user="alice"))
        rejoin = await one.entry(MemberJoined(user="alice"))
        other = await one.entry(MemberJoined(user="bob"), by="bob", guard=(SETTINGS, "user:bob"))
        placed = await asyncio.gather(*map(one.appender.offer, (join, rejoin, other)))
        assert [answer.outcome for answer in placed] == ["appended", "stale", "appended"]


async def test_a_stale_command_brings_what_its_node_lacks(database: Database) -> None:
    async with node(database) as one, node(database) as two:
        two.follow(GENERAL)
        await one.open_room("alice", "bob")
        await one.append(message("hello bob"), decided_on=3)
        assert (
            await two.append(MemberLeft(user="bob"), by="bob", guard=(SETTINGS, "user:bob"))
        ).outcome == "stale"
        assert two.feeds[GENERAL] == await one.log.stream(GENERAL, 0, 10)
        decided_again = await two.append(MemberLeft(user="bob"), by="bob", decided_on=4)
        assert (decided_again.outcome, decided_again.seq) == ("appended", 5)


# Two nodes


async def test_two_nodes_writing_one_hot_room_never_conflict(
    database: Database,
) -> None:
    async with node(database) as one, node(database) as two:
        await one.open_room("alice", "bob")
        for each in (one, two):
            each.follow(GENERAL)

        async def talk(each: Node, author: str) -> list[str]:
            outcomes: list[str] = []
            for burst in range(15):
                entries = [
                    await each.entry(message(f"{author} {burst} {n}", author=author), by=author, decided_on=3)
                    for n in range(4)
                ]
                placed = await asyncio.gather(*map(each.appender.offer, entries))
                outcomes.extend(answer.outcome for answer in placed)
            return outcomes

        outcomes = await asyncio.gather(talk(one, "alice"), talk(two, "bob"))
        assert {outcome for each in outcomes for outcome in each} == {"appended"}
        log = await one.log.stream(GENERAL, 0, 1000)
        assert [recorded.seq for recorded in log] == list(range(1, 124))
        for each in (one, two):
            held = each.feeds[GENERAL]
            assert held == log[: len(held)], "a feed has no hole, no double and nothing out of order"
        assert len(one.feeds[GENERAL]) == 123 or len(two.feeds[GENERAL]) == 123, "the last writer has it all"


async def test_rows_that_a_node_does_not_follow_are_not_brought(database: Database) -> None:
    async with node(database) as one, node(database) as two:
        await one.open_room("alice", "bob")
        await two.append(message(author="bob"), by="bob", decided_on=3)
        assert [recorded.seq for recorded in two.news[-1][GENERAL]] == [4]


async def test_missing_rows_are_returned_once_per_batch(
    database: Database,
) -> None:
    async with node(database) as one, node(database) as two:
        two.follow(GENERAL)
        await one.open_room("alice", "bob")
        entries = [await two.entry(message(str(n), author="bob"), by="bob", decided_on=3) for n in range(5)]
        await asyncio.gather(*map(two.appender.offer, entries))
        assert [recorded.seq for recorded in two.feeds[GENERAL]] == list(range(1, 9))


async def test_a_node_far_behind_is_brought_the_first_thousand_rows_and_its_own(database: Database) -> None:
    async with node(database) as one, node(database) as two:
        two.follow(GENERAL)
        events = [MemberJoined(user=f"u{n}") for n in range(1100)]
        await one.append(*events)
        await two.append(message(author="bob"), by="bob", decided_on=1100, guard=())
        assert [recorded.seq for recorded in two.feeds[GENERAL]] == [*range(1, 1001), 1101]


# Time


async def test_time_never_decreases_even_where_the_clock_was_ahead(database: Database) -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    async with node(database) as one:
        with as_owner(database) as owner:
            owner.execute("UPDATE log_end SET recorded_at = %s", [ahead])
        first = await one.append(MemberJoined(user="alice"))
        second = await one.append(MemberJoined(user="bob"), decided_on=1)
        assert first.at == second.at == ahead


async def test_events_are_timed_by_the_database_in_utc_with_microseconds(database: Database) -> None:
    async with node(database) as one:
        before = (await stored(database, "SELECT clock_timestamp()"))[0][0]
        placed = await one.append(MemberJoined(user="alice"))
        after = (await stored(database, "SELECT clock_timestamp()"))[0][0]
        assert placed.at is not None
        assert before <= placed.at <= after
        assert placed.at.utcoffset() == timedelta(0)
        (recorded,) = await one.log.stream(GENERAL, 0, 1)
        assert recorded.at == placed.at


async def test_time_rises_with_the_position_across_nodes(database: Database) -> None:
    async with node(database) as one, node(database) as two:
        entries = [
            each.appender.offer(
                await each.entry(MemberJoined(user=f"u{n}"), stream=room_stream(f"r{n % 7}"), guard=())
            )
            for n in range(100)
            for each in (one, two)
        ]
        await asyncio.gather(*entries)
    rows = await stored(database, "SELECT recorded_at FROM stored_events ORDER BY notification_id")
    assert len(rows) == 200
    assert all(before[0] <= after[0] for before, after in pairwise(rows))


# Keys


async def test_destroyed_key_rejects_its_content_and_not_the_rest_of_the_batch(
    database: Database,
) -> None:
    async with node(database) as one:
        await one.open_room("alice", "bob")
        doomed = await one.entry(message("too late"), decided_on=3)
        other = await one.entry(message("in time", author="bob"), by="bob", decided_on=3)
        with as_owner(database) as owner:
            owner.execute("DELETE FROM person_keys WHERE person = 'alice'")
        placed = await asyncio.gather(one.appender.offer(doomed), one.appender.offer(other))
        assert [answer.outcome for answer in placed] == ["key_gone", "appended"]
        assert placed[1].seq == 4


# The queue


async def test_a_queue_that_is_full_by_count_refuses_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "MAX_QUEUED", 3)
    async with node(database) as one, holding_the_lock(database) as blocker:
        first = one.appender.offer(await one.entry(MemberJoined(user="alice")))
        await until(lambda: waiting_writers(blocker))
        entries = [await one.entry(MemberJoined(user=f"u{n}"), guard=()) for n in range(4)]
        queued = [one.appender.offer(entry) for entry in entries[:3]]
        with pytest.raises(Overloaded):
            one.appender.offer(entries[3])
        assert one.appender.queued == 3
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await asyncio.gather(first, *queued)
        assert (await one.appender.offer(entries[3])).seq == 5, "there is room again"


async def test_a_queue_that_is_full_by_bytes_refuses_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(database) as one:
        entries = [
            await one.entry(message("x" * 5000), guard=()) for _ in range(3)
        ]  # a key is made under the lock
    async with node(database) as one, holding_the_lock(database) as blocker:
        monkeypatch.setattr(appender, "MAX_QUEUED_BYTES", sum(entry.size for entry in entries[:2]))
        first = one.appender.offer(await one.entry(MemberJoined(user="alice"), guard=()))
        await until(lambda: waiting_writers(blocker))
        queued = [one.appender.offer(entry) for entry in entries[:2]]
        with pytest.raises(Overloaded):
            one.appender.offer(entries[2])
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await asyncio.gather(first, *queued)
        assert (await one.appender.offer(entries[2])).outcome == "appended", "there is room again"


async def test_a_batch_is_bounded_by_events_and_by_bytes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "MAX_BATCH_EVENTS", 10)
    async with node(database) as one:
        joins = [await one.entry(MemberJoined(user=f"u{n}"), guard=()) for n in range(25)]
        await asyncio.gather(*map(one.appender.offer, joins))
        assert [len(news[GENERAL]) for news in one.news] == [10, 10, 5]
        monkeypatch.setattr(appender, "MAX_BATCH_BYTES", 3 * joins[0].size)
        await asyncio.gather(
            *[one.appender.offer(await one.entry(MemberJoined(user="x"), guard=())) for _ in range(7)]
        )
        assert [len(news[GENERAL]) for news in one.news[3:]] == [3, 3, 1]


async def test_a_command_larger_than_a_batch_goes_alone(database: Database) -> None:
    async with node(database) as one:
        small, big = (
            MemberJoined(user="a"),
            [MemberJoined(user=f"u{n}") for n in range(appender.MAX_BATCH_EVENTS + 1)],
        )
        entries = [await one.entry(*events, guard=()) for events in ([small], big, [small])]
        await asyncio.gather(*map(one.appender.offer, entries))
        assert [len(news[GENERAL]) for news in one.news] == [1, 201, 1]


# Trouble


async def test_a_commit_whose_reply_is_lost_is_sent_again_and_has_one_effect(database: Database) -> None:
    async with proxied(database.app_url) as (proxy, url), node(database, url=url) as one:
        one.follow(GENERAL)
        await one.open_room("alice")
        proxy.lose_next_reply = True
        entries = [await one.entry(message(str(n)), decided_on=2) for n in range(3)]
        placed = await asyncio.gather(*map(one.appender.offer, entries))
        assert proxy.lost == 1
        assert [answer.outcome for answer in placed] == ["known"] * 3
        assert [answer.seq for answer in placed] == [3, 4, 5]
        assert await seqs(database) == [1, 2, 3, 4, 5]
        assert one.feeds[GENERAL] == await one.log.stream(GENERAL, 0, 10), (
            "what was placed unheard is delivered"
        )
        assert (await one.append(message(), decided_on=5)).seq == 6


async def test_a_commit_still_under_way_when_it_is_sent_again_has_one_effect(database: Database) -> None:
    async with proxied(database.app_url) as (proxy, url), node(database, url=url) as one:
        await one.open_room("alice")
        entry = await one.entry(message(), decided_on=2)  # a key is made under the lock
        async with holding_the_lock(database) as blocker:
            proxy.cut_before_reply = True
            sent = one.appender.offer(entry)
            await until(lambda: _two_wait(blocker))
        assert (await sent).seq == 3
        await until(lambda: _nobody_runs(database))
        assert await seqs(database) == [1, 2, 3]


async def _nobody_runs(database: Database) -> bool:
    running = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1"
    return not await stored(database, running, LOCK)


async def test_a_backend_ended_in_mid_transaction_is_tried_again(database: Database) -> None:
    async with node(database) as one, holding_the_lock(database) as blocker:
        sent = one.appender.offer(await one.entry(MemberJoined(user="alice")))
        await until(lambda: waiting_writers(blocker))
        (ended,) = await waiting_writers(blocker)
        await blocker.execute("SELECT pg_terminate_backend($1)", ended)
        await until(lambda: _another_waits(blocker, ended))
        assert not sent.done()
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        answer = await sent
        assert (answer.outcome, answer.seq) == ("appended", 1)


async def _another_waits(connection: "asyncpg.Connection[Any]", than: int) -> bool:
    return any(pid != than for pid in await waiting_writers(connection))


@pytest.mark.parametrize("where", ["in its row", "at commit"])
async def test_a_command_that_cannot_be_placed_fails_alone(database: Database, where: str) -> None:
    when = "BEFORE INSERT ON" if where == "in its row" else "AFTER INSERT ON"
    kind = "TRIGGER" if where == "in its row" else "CONSTRAINT TRIGGER"
    deferred = "" if where == "in its row" else "DEFERRABLE INITIALLY DEFERRED"
    with as_owner(database) as owner:
        owner.execute(
            """CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN
                   IF NEW.ref = 'poison' THEN RAISE EXCEPTION 'poison'; END IF;
                   RETURN NEW;
               END $$"""
        )
        owner.execute(
            f"CREATE {kind} poison {when} refs {deferred} FOR EACH ROW EXECUTE FUNCTION refuse_poison()"
        )
    async with node(database) as one:
        one.follow(GENERAL)
        refs = [f"r{n}" for n in range(11)]
        refs[6] = "poison"
        sent = [
            one.appender.offer(await one.entry(MemberJoined(user=ref), ref=ref, guard=())) for ref in refs
        ]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [
            ref for ref, answer in zip(refs, answers, strict=True) if isinstance(answer, Unavailable)
        ] == ["poison"]
        log = await one.log.stream(GENERAL, 0, 20)
        joined = [recorded.event.user for recorded in log if isinstance(recorded.event, MemberJoined)]
        assert joined == [ref for ref in refs if ref != "poison"], "in the order in which they came"
        assert one.feeds[GENERAL] == log


async def test_a_command_that_cannot_even_be_sent_fails_alone_and_at_once(database: Database) -> None:
    async with node(database, deadline=3600) as one:
        poison = msgspec.structs.replace(await one.entry(MemberJoined(user="alice")), ref="\ud800")
        entries = [
            await one.entry(MemberJoined(user="bob")),
            poison,
            await one.entry(MemberJoined(user="carol")),
        ]
        answers = await asyncio.gather(*map(one.appender.offer, entries), return_exceptions=True)
        assert isinstance(answers[1], Unavailable)
        assert await seqs(database) == [1, 2]


async def test_database_outage_past_the_deadline_makes_commands_unavailable(
    database: Database,
) -> None:
    async with node(database, url="postgresql://nobody@127.0.0.1:1/nothing", deadline=0.2) as one:
        with pytest.raises(Unavailable):
            await one.append(MemberJoined(user="alice"))


async def test_a_database_that_does_not_answer_makes_commands_unavailable(database: Database) -> None:
    async with holding_the_lock(database) as blocker, node(database, deadline=0.2) as one:
        with pytest.raises(Unavailable):
            await one.append(MemberJoined(user="alice"), ref="r")
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await until(lambda: _answers(one))
    assert await seqs(database) == [1], "whether or not the first try was recorded, the retry makes it one"


async def _answers(one: Node) -> bool:
    with suppress(Unavailable):
        return (await one.append(MemberJoined(user="alice"), ref="r")).seq == 1
    return False


async def test_the_appender_goes_on_when_the_database_comes_back(database: Database) -> None:
    with as_owner(database) as owner:
        async with node(database, deadline=60) as one:
            await one.open_room("alice")
            owner.execute("ALTER ROLE onrecord_app NOLOGIN")
            try:
                owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'onrecord_app'"
                )
                sent = one.appender.offer(await one.entry(MemberLeft(user="alice"), decided_on=2))
            finally:
                owner.execute("ALTER ROLE onrecord_app LOGIN")
            assert (await sent).seq == 3


async def test_a_cancelled_appender_answers_everything_in_flight_and_queued(database: Database) -> None:
    async with node(database) as one, holding_the_lock(database) as blocker:
        in_flight = one.appender.offer(await one.entry(MemberJoined(user="alice")))
        await until(lambda: waiting_writers(blocker))
        queued = one.appender.offer(await one.entry(MemberJoined(user="bob")))
        await one.stop()
        for future in (in_flight, queued):
            with pytest.raises(Unavailable):
                await future


async def test_a_cancelled_appender_answers_a_batch_that_it_is_splitting(database: Database) -> None:
    async with node(database) as one, holding_the_lock(database) as blocker:
        poison = msgspec.structs.replace(await one.entry(MemberJoined(user="x")), ref="\0")
        entries = [await one.entry(MemberJoined(user=f"u{n}")) for n in range(3)]
        sent = [one.appender.offer(entry) for entry in [*entries, poison]]
        await until(lambda: waiting_writers(blocker))
        await one.stop()
        for future in sent:
            with pytest.raises(Unavailable):
                await future


async def test_batch_is_committed_and_acknowledged_though_delivery_fails(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with node(database) as one:
        delivered, one.appender._on_commit = one.appender._on_commit, lambda _news: 1 / 0  # type: ignore[assignment]
        placed = await one.appender.offer(await one.entry(MemberJoined(user="alice")))
        assert (placed.outcome, placed.seq) == ("appended", 1)
        assert "delivery_failed" in caplog.text
        one.appender._on_commit = delivered
        placed = await one.appender.offer(await one.entry(MemberJoined(user="bob"), guard=()))
        assert placed.seq == 2


async def test_an_appender_that_ended_answers_at_once(database: Database) -> None:
    async with node(database) as one:
        await one.open_room("alice")
        entry = await one.entry(MemberLeft(user="alice"), decided_on=2)
        await one.stop()
        with pytest.raises(Unavailable):
            await one.appender.offer(entry)


async def test_a_sender_who_gave_up_disturbs_nobody(database: Database) -> None:
    async with node(database) as one, holding_the_lock(database) as blocker:
        first = one.appender.offer(await one.entry(MemberJoined(user="alice")))
        await until(lambda: waiting_writers(blocker))
        second = one.appender.offer(await one.entry(MemberJoined(user="bob"), guard=()))
        first.cancel()
        await blocker.execute("SELECT pg_advisory_unlock($1)", LOCK)
        assert (await second).seq == 2


async def test_connection_opened_on_small_tables_still_uses_indexes(
    database: Database,
) -> None:
    async def read(table: str) -> tuple[int, int]:
        ((by_index, one_by_one),) = await stored(
            database, "SELECT idx_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = $1", table
        )
        return by_index, one_by_one

    async with node(database) as one:
        await one.open_room("alice")
        for _ in range(100):
            await one.append(message(), decided_on=2)
        with as_owner(database) as owner:
            owner.execute("VACUUM ANALYZE refs, stored_events")
            for _ in range(10):  # enough for Postgres to keep a plan for good
                await one.append(message(), decided_on=2)
            owner.execute("""
                INSERT INTO refs (user_id, ref, fingerprint, stream, seq, recorded_at)
                SELECT 'bob', n::text, '\\x00', 'room:other', n, now() FROM generate_series(1, 20000) n""")
            owner.execute("""
                INSERT INTO stored_events (
                    originator_id, originator_version, topic, state, stream, subject, recorded_at, recorded_by)
                SELECT gen_random_uuid(), 1, 'MemberJoined:1', '{}', 'room:' || n, 'user:bob', now(), 'bob'
                FROM generate_series(1, 20000) n""")
        before = {table: await read(table) for table in ("refs", "stored_events")}
        for _ in range(10):
            await one.append(message(), decided_on=2)
        for table, (by_index, one_by_one) in before.items():
            # Postgres counts a little later than it reads.
            while (now := await read(table))[0] < by_index + 10:
                await asyncio.sleep(0.1)
                await one.append(message(), decided_on=2)
            assert now[1] - one_by_one < 20000, table
