"""A projection follows the log, through rivals, failures and lost connections, and counts nothing twice."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from projections import PROJECTIONS, message_rows, messages, read_receipts, rooms
from projections.engine import log_window, rebuild
from projections.engine.log_window import tracked
from projections.engine.projection import Projection
from projections.engine.projector import Projector
from projections.engine.runner import Runner
from service.domain.events import Recorded
from service.eventstore.connections import Connector, Pooling
from service.eventstore.serializer import Stored
from tests.support.oracles.projected_log import World
from tests.support.projections.events import GENERAL, OPENED, said
from tests.support.projections.runners import equal, level, running
from tests.support.waiting import until

if TYPE_CHECKING:
    import asyncpg

Apply = Callable[["asyncpg.Connection[Any]", str, Sequence[Recorded]], Any]


async def end_backend(here: World, name: str) -> None:
    """End the connection of a projection's leader, as an administrator or a restart would."""
    ended = await here.connection.fetchval(
        "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks "
        "WHERE locktype = 'advisory' AND classid = 7236111 AND objid = hashtext($1)::bigint & 4294967295 AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        name,
    )
    assert ended


def messages_applied_by(apply: Apply) -> Projection:
    return msgspec.structs.replace(messages.PROJECTION, apply=apply)


async def test_every_projection_follows_what_is_there_and_what_comes(here: World) -> None:
    await here.happen(OPENED, *(said(f"early {number}") for number in range(50)))
    # With an interval this long, only news from the database can wake the runners.
    runners = [here.runner(projection, interval=3600) for projection in PROJECTIONS]
    async with running(here, *runners):
        await level(here, *runners)
        for number in range(3):
            await here.happen(said(f"late {number}"))
            await level(here, *runners)
        assert [runner.behind for runner in runners] == [0] * len(PROJECTIONS)
        assert all(runner.leading for runner in runners)
    assert await equal(here, *PROJECTIONS)
    assert len(await here.rows(messages.PROJECTION)) == 53


async def test_the_position_moves_past_events_of_others(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_window, "MAX_POSITIONS", 3)
    await here.happen(OPENED, *(said("hello") for _ in range(20)))
    runner = here.runner(read_receipts.PROJECTION)
    async with running(here, runner):
        await level(here, runner)
    assert await tracked(here.connection, "read_receipts_v1") == await here.head()


async def test_a_runner_without_news_looks_at_the_log_every_interval(here: World) -> None:
    runner = here.runner(messages.PROJECTION, interval=0.05)
    runner.wake = lambda: None  # type: ignore[method-assign] # the news are lost
    async with running(here, runner):
        await until(lambda: runner.leading)
        await here.happen(OPENED, said("hello"))
        await level(here, runner)


async def test_the_standby_takes_over_and_nothing_is_counted_twice(here: World) -> None:
    pair = [here.runner(messages.PROJECTION), here.runner(messages.PROJECTION)]
    async with running(here, *pair):
        await until(lambda: any(runner.leading for runner in pair))
        await here.happen(OPENED, *(said("one") for _ in range(30)))
        await level(here, *pair)
        leader, standby = sorted(pair, key=lambda runner: not runner.leading)
        assert not standby.leading
        leader._pause = 3600  # it would be back before the standby looks
        await end_backend(here, "messages_v2")
        await here.happen(*(said("two") for _ in range(30)))
        await until(lambda: standby.leading and not leader.leading)
        await level(here, standby)
    assert len(await here.rows(messages.PROJECTION)) == 60
    assert await equal(here, messages.PROJECTION)


async def test_a_leader_that_was_cut_off_comes_back(here: World) -> None:
    runner = here.runner(rooms.PROJECTION)
    async with running(here, runner):
        await until(lambda: runner.leading)
        await here.happen(OPENED)
        for _ in range(3):
            await until(lambda: runner.leading)
            await end_backend(here, "rooms_v2")
            await here.happen(said("hello"))
            await level(here, runner)
    assert await equal(here, rooms.PROJECTION)


async def test_connection_lost_mid_batch_loses_and_repeats_nothing(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
        await message_rows.apply(connection, table, batch)
        inside.set()
        await go_on.wait()

    await here.happen(OPENED, *(said("hello") for _ in range(10)))
    runner = here.runner(messages_applied_by(slow))
    async with running(here, runner):
        await inside.wait()
        await end_backend(here, "messages_v2")
        go_on.set()
        await level(here, runner)
    assert await equal(here, messages.PROJECTION)
    events = [record.message for record in caplog.records if record.message.startswith("projection_")]
    assert events == ["projection_waits", "projection_goes_on"]


async def test_a_batch_that_fails_is_rolled_back_said_and_tried_again(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 2

    async def shaky(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
        nonlocal failures
        await message_rows.apply(connection, table, batch)
        if failures:
            failures -= 1
            raise ValueError("not now")

    await here.happen(OPENED, said("hello"))
    runner = here.runner(messages_applied_by(shaky))
    async with running(here, runner):
        await level(here, runner)
    failed = [record for record in caplog.records if record.message == "projection_failed"]
    assert len(failed) == 2
    assert failed[0].levelno == logging.ERROR
    assert await equal(here, messages.PROJECTION)


async def test_a_step_that_never_ends_is_given_up(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.engine.runner.DEADLINE", 0.3)
    stuck = True

    async def slow(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
        nonlocal stuck
        if stuck:
            stuck = False
            await connection.execute("SELECT pg_sleep(3600)")
        await message_rows.apply(connection, table, batch)

    await here.happen(OPENED, said("hello"))
    following = here.runner(messages_applied_by(slow))
    async with running(here, following):
        await level(here, following)
    assert await equal(here, messages.PROJECTION)


async def test_runner_that_lost_the_race_rolls_back_and_resumes(here: World) -> None:
    """Two that both believe to lead, which the lock forbids, at the same span."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
        inside.set()
        await go_on.wait()
        await message_rows.apply(connection, table, batch)

    await here.happen(OPENED, said("one"), said("two"))
    first, second = here.runner(messages_applied_by(slow)), here.runner(messages.PROJECTION)
    connections = await here.connect(), await here.connect()
    winning = asyncio.create_task(first._advance(connections[0]))
    await inside.wait()
    losing = asyncio.create_task(second._advance(connections[1]))
    await until(lambda: here.connection.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))
    go_on.set()
    assert (await winning, await losing) == (False, True)
    assert first.position == second.position == await here.head()
    assert not await second._advance(connections[1])
    assert await equal(here, messages.PROJECTION)
    for connection in connections:
        await connection.close()


async def test_an_event_of_a_newer_version_stops_the_projection_right_before_it(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    await here.happen(OPENED, said("known"))
    stranger = Stored("room.RoomTurnedUpsideDown.v1", "settings", b"{}", None)
    entry = await here.node.entry(*said("x")[2], guard=())
    await here.node.appender.offer(msgspec.structs.replace(entry, stored=(stranger,)))
    await here.happen(said("after"))
    await asyncio.wait_for(Projector(here.connect, here.node.serializer, PROJECTIONS, 0.05).run(), 60)
    for projection in PROJECTIONS:
        assert await tracked(here.connection, projection.table) == 3
        assert await equal(here, projection)
    stopped = [record for record in caplog.records if record.message == "projection_stopped"]
    assert {vars(record)["topic"] for record in stopped} == {"room.RoomTurnedUpsideDown.v1"}
    assert len(stopped) == len(PROJECTIONS)
    assert (
        await here.connection.fetchval("SELECT count(*) FROM stored_events WHERE stream = $1", GENERAL)
    ) == 5


async def test_a_projection_without_a_position_says_so(here: World, caplog: pytest.LogCaptureFixture) -> None:
    runner = here.runner(msgspec.structs.replace(rooms.PROJECTION, version=99))
    async with running(here, runner):
        await until(lambda: caplog.records)
    assert "run `onrecord migrate`" in caplog.text


# Runners over shared sessions, as behind a pooler in transaction mode, lead for one transaction at a time.


@pytest.fixture
def shared(here: World) -> Connector:
    return Connector(here.database.worker_url, 20, Pooling.TRANSACTION)


async def test_two_runners_take_turns_and_apply_each_event_once(
    here: World, shared: Connector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_window, "MAX_EVENTS", 3)
    pair = [Runner(shared.connect, here.node.serializer, messages.PROJECTION, 0.01) for _ in range(2)]
    async with running(here, *pair):
        await until(lambda: all(runner.leading for runner in pair))
        while not all(runner.applied > 5 for runner in pair):
            await here.happen(*(said("hello") for _ in range(5)))
            await level(here, *pair)
    assert sum(runner.applied for runner in pair) == len(await here.rows(messages.PROJECTION))
    assert await equal(here, messages.PROJECTION)
    assert not [record for record in caplog.records if record.message == "projection_overtaken"]


async def test_a_runner_does_nothing_while_another_holds_the_lock(here: World, shared: Connector) -> None:
    runner = Runner(shared.connect, here.node.serializer, messages.PROJECTION, 0.01)
    await here.happen(OPENED, said("hello"))
    connection = await shared.connect()
    other = await here.connect()
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(7236111, hashtext('messages_v2'))")
        assert not await runner._advance(connection)
        assert runner.applied == 0
    await runner._advance(connection)
    assert runner.applied == 1
    await connection.close()
    await other.close()


async def test_two_projectors_follow_and_rebuild_one_wrong_table(
    here: World, shared: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.engine.projector.REQUEST_INTERVAL", 0.02)
    projections = [messages.PROJECTION, rooms.PROJECTION, read_receipts.PROJECTION]
    await here.happen(OPENED, *(said(str(number)) for number in range(20)))
    pair = [
        Projector(shared.connect, here.node.serializer, projections, 0.02, session=shared.session)
        for _ in range(2)
    ]
    async with asyncio.TaskGroup() as group:
        following = [group.create_task(projector.run()) for projector in pair]
        for _ in range(3):
            await level(here, *pair[0].runners, *pair[1].runners)
            await here.connection.execute(f"DELETE FROM {messages.PROJECTION.relation}")  # noqa: S608 - our name
            asking = "INSERT INTO notification_tracking (application_name, notification_id) VALUES ($1, 0)"
            name = rebuild.replacement(messages.PROJECTION)
            await here.connection.execute(asking, name)
            tracked = "SELECT count(*) = 0 FROM notification_tracking WHERE application_name = $1"
            await until(lambda: here.connection.fetchval(tracked, name))  # noqa: B023 - awaited in this round
            await here.happen(said("after"))
        await level(here, *pair[0].runners, *pair[1].runners)
        following.pop().cancel()
        await here.happen(said("with one projector"))
        await level(here, *pair[0].runners)
        following.pop().cancel()
    for projection in projections:
        assert await equal(here, projection)
