"""Runners over shared sessions, as behind a pooler in transaction mode, lead for one transaction at a time."""

import asyncio

import pytest

from projections import messages, read_receipts, rooms
from projections.engine import log_window, rebuild
from projections.engine.projector import Projector
from projections.engine.runner import Runner
from service.eventstore.connections import Connector, Pooling
from tests.support.oracles.projected_log import World
from tests.support.projections.events import OPENED, said
from tests.support.projections.runners import equal, level, running
from tests.support.waiting import until


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
