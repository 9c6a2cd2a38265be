"""Sessions on the record: each event once, with several writers and after interruptions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.cluster import brief_sessions, session_log
from service.cluster.brief_sessions import Closing
from service.cluster.leases import Lease
from service.cluster.session_log import SessionAppender, SessionLog
from service.cluster.session_reaper import Reaper
from service.domain.events import Recorded, SessionClosed, SessionOpened
from service.domain.streams import session_stream
from tests.support.eventstore.log_node import Node, node, stored
from tests.support.servers.databases import Database
from tests.support.waiting import until

BYE = Closing("client", 1001, {"general": ((1, 7),)})


@dataclass
class Place:
    """A node with its lease, its recorder of sessions and its reaper; nothing runs by itself but the recorder."""

    node: Node
    lease: Lease
    visits: SessionLog
    reaper: Reaper
    tasks: list["asyncio.Task[None]"]

    def open(self, user: str = "alice", session: str | None = None) -> str:
        session = session or str(uuid4())
        self.visits.opened(session, user, "192.0.2.7", "a browser")
        return session

    async def die(self) -> None:
        """Do nothing from now on."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def place(database: Database, name: str) -> AsyncIterator[Place]:
    async with node(database) as one:
        lease = Lease(one.pool, name, deadline=20)
        await lease._keep()
        events = SessionAppender(one.pool, one.appender, one.serializer, 20)
        recorder = SessionLog(events, lease)
        made = Place(one, lease, recorder, Reaper(events, lease), [asyncio.create_task(recorder.run())])
        try:
            yield made
        finally:
            await made.die()


async def fence(database: Database, lease: Lease) -> None:
    await stored(
        database, "UPDATE incarnations SET fenced_at = now() WHERE incarnation = $1", lease.incarnation
    )


async def history(one: Place, user: str = "alice") -> list[Recorded]:
    return await one.node.log.stream(session_stream(user), 0, 10_000)


async def left_open(database: Database) -> list[UUID]:
    return [row["session_id"] for row in await stored(database, "SELECT session_id FROM open_sessions")]


async def test_a_session_is_opened_and_closed_on_the_record(database: Database) -> None:
    async with place(database, "one") as one:
        session = one.open()
        await one.visits.drain(60)
        assert await left_open(database) == [UUID(session)]
        one.visits.closed(session, BYE)
        one.visits.closed(session, Closing("fenced", 4011, None))
        await one.visits.drain(60)
        opened, closed = await history(one)
        assert opened.event == SessionOpened(
            session=session,
            node="one",
            incarnation=str(one.lease.incarnation),
            address="192.0.2.7",
            client="a browser",
        )
        assert closed.event == SessionClosed(
            session=session, reason="client", code=1001, ranges={"general": ((1, 7),)}
        )
        assert opened.subject == closed.subject == f"session:{session}"
        assert opened.by == closed.by == "alice"
        assert await left_open(database) == []


async def test_what_the_client_says_of_itself_is_not_stored_in_the_clear(database: Database) -> None:
    async with place(database, "one") as one:
        one.open()
        await one.visits.drain(60)
        ((state,),) = await stored(database, "SELECT state FROM stored_events")
        assert b"a browser" not in state
        await stored(database, "DELETE FROM person_keys")
        (opened,) = await history(one)
        assert isinstance(opened.event, SessionOpened)
        assert opened.event.client is None


async def test_a_session_of_somebody_erased_meanwhile_is_recorded_without_words(database: Database) -> None:
    async with place(database, "one") as one:
        one.open()
        await one.visits.drain(60)
        await stored(database, "UPDATE person_keys SET wrapped = NULL, destroyed_at = now()")
        session = one.open()
        one.visits.closed(session, BYE)
        await one.visits.drain(60)
        *_, opened, closed = await history(one)
        assert isinstance(opened.event, SessionOpened)
        assert opened.event.client is None
        assert isinstance(closed.event, SessionClosed)
        assert opened.event.session == closed.event.session == session


async def test_many_sessions_are_recorded_in_few_commits(database: Database) -> None:
    async with place(database, "one") as one:
        sessions = [one.open(f"user-{number % 70}") for number in range(1_000)]
        for session in sessions[:500]:
            one.visits.closed(session, BYE)
        await one.visits.drain(100)
        assert len(one.node.news) < 100
        assert sorted(map(str, await left_open(database))) == sorted(sessions[500:])
        counts = [len(await history(one, f"user-{number}")) for number in range(70)]
        assert sum(counts) == 1_500


@pytest.fixture
def all_brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session is recorded apart at once."""
    monkeypatch.setattr(brief_sessions, "APART_BURST", 1e-9)


@pytest.mark.usefixtures("all_brief")
async def test_a_thousand_brief_sessions_are_one_record_with_what_was_written(database: Database) -> None:
    async with place(database, "one") as one:
        for number in range(1_000):
            session = one.open()
            one.visits.closed(session, Closing("client", 1000, {"general": ((number + 1, number + 1),)}))
        one.visits.end_groups()
        await one.visits.drain(60)
        opened, closed = [recorded.event for recorded in await history(one)]
        assert isinstance(opened, SessionOpened)
        assert (opened.brief, opened.address, opened.client) == (True, "192.0.2.7", "a browser")
        assert closed == SessionClosed(
            session=opened.session,
            reason="brief",
            ranges={"general": ((1, 1_000),)},
            sessions=1_000,
            addresses=("192.0.2.7",),
        )
        assert await left_open(database) == []


@pytest.mark.usefixtures("all_brief")
async def test_a_session_that_lasts_a_second_has_a_record_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brief_sessions, "SECONDS", 0.01)
    async with place(database, "one") as one:
        session = one.open()
        while session not in [str(known) for known in await left_open(database)]:
            await asyncio.sleep(0.01)
        one.visits.closed(session, BYE)
        one.visits.end_groups()
        await one.visits.drain(60)
        events = [recorded.event for recorded in await history(one)]
        own = [event for event in events if getattr(event, "session", None) == session]
        assert [type(event) for event in own] == [SessionOpened, SessionClosed]
        (group,) = [event for event in events if event not in own and isinstance(event, SessionClosed)]
        assert (group.sessions, group.ranges) == (0, {})


@pytest.mark.usefixtures("all_brief")
async def test_the_brief_sessions_of_a_dead_node_are_unknown(database: Database) -> None:
    async with place(database, "dead") as dead, place(database, "alive") as alive:
        dead.visits.closed(dead.open(), BYE)
        await dead.visits.drain(60)
        await dead.die()
        await fence(database, dead.lease)
        assert await alive.reaper.reap() == 1
        opened, closed = [recorded.event for recorded in await history(alive)]
        assert isinstance(opened, SessionOpened)
        assert opened.brief
        assert closed == SessionClosed(session=opened.session, reason="node_lost", ranges=None)


async def test_above_the_bound_sessions_go_unrecorded_and_are_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_log, "MAX_SESSIONS", 2)
    async with place(database, "one") as one:
        sessions = [one.open() for _ in range(5)]
        for session in sessions:
            one.visits.closed(session, BYE)
        await one.visits.drain(60)
        assert one.visits.missed == 3
        assert len(await history(one)) == 4
        one.open()
        await one.visits.drain(60)
        assert len(await history(one)) == 5, "there is room again"


async def test_sessions_that_cannot_be_recorded_now_are_recorded_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_log, "RETRY", 0.01)
    async with place(database, "one") as one:
        await one.node.stop()
        sessions = [one.open() for _ in range(3)]
        one.visits.closed(sessions[0], BYE)
        await asyncio.sleep(0.1)
        assert await history(one) == []
        one.node.running = asyncio.create_task(one.node.appender.run())
        await one.visits.drain(60)
        assert len(await history(one)) == 4


async def test_the_sessions_of_a_dead_node_are_closed_by_another(database: Database) -> None:
    async with place(database, "dead") as dead, place(database, "alive") as alive:
        lost = [dead.open(user) for user in ("alice", "bob")]
        kept = alive.open("carol")
        for one in (dead, alive):
            await one.visits.drain(60)
        await dead.die()
        assert await alive.reaper.reap() == 0, "nobody is fenced yet"
        await fence(database, dead.lease)
        assert await alive.reaper.reap() == 2
        for session, user in zip(lost, ("alice", "bob"), strict=True):
            closed = (await history(alive, user))[-1].event
            assert closed == SessionClosed(session=session, reason="node_lost", ranges=None)
        assert len(await history(alive, "carol")) == 1
        assert await left_open(database) == [UUID(kept)]


async def test_sessions_unrecorded_at_an_orderly_stop_are_closed_too(
    database: Database,
) -> None:
    async with place(database, "ended") as ended, place(database, "alive") as alive:
        ended.open()
        await ended.visits.drain(60)
        await ended.lease.end()
        assert await alive.reaper.reap() == 1


async def test_reaper_opens_and_closes_a_session_never_recorded(
    database: Database,
) -> None:
    async with place(database, "dead") as dead, place(database, "alive") as alive:
        session = uuid4()
        await stored(
            database, "INSERT INTO open_sessions VALUES ($1, $2, 'alice')", session, dead.lease.incarnation
        )
        await fence(database, dead.lease)
        assert await alive.reaper.reap() == 1
        opened, closed = [recorded.event for recorded in await history(alive)]
        assert opened == SessionOpened(
            session=str(session),
            node="dead",
            incarnation=str(dead.lease.incarnation),
            address=None,
            client=None,
        )
        assert closed == SessionClosed(session=str(session), reason="node_lost", ranges=None)
        # The dead node wakes up, and what it was about to record comes after all.
        dead.open(session=str(session))
        dead.visits.closed(str(session), BYE)
        await dead.visits.drain(60)
        assert [recorded.event for recorded in await history(alive)] == [opened, closed]
        assert await left_open(database) == []


@pytest.mark.parametrize("round_number", range(3))
async def test_two_reapers_and_the_woken_node_at_once_close_each_session_once(
    database: Database, round_number: int
) -> None:
    async with place(database, "woken") as woken, place(database, "a") as a, place(database, "b") as b:
        sessions = [woken.open(f"user-{number % 5}") for number in range(60)]
        await woken.visits.drain(60)
        await fence(database, woken.lease)
        for session in sessions[round_number::3]:
            woken.visits.closed(session, Closing("fenced", 4011, {}))
        await asyncio.gather(a.reaper.reap(), b.reaper.reap(), woken.visits.drain(60))
        await a.reaper.reap()
        await once_each(a, sessions)
        assert await left_open(database) == []


@pytest.mark.parametrize("step", ["_look_up", "_open", "_close", "forget"])
@pytest.mark.parametrize("after", ["before", "after"])
async def test_a_reaper_killed_in_the_middle_leaves_the_rest_to_the_next(
    database: Database,
    step: str,
    after: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with place(database, "dead") as dead, place(database, "a") as a, place(database, "b") as b:
        sessions = [dead.open() for _ in range(5)]
        await dead.visits.drain(60)
        unheard_of = uuid4()
        incarnation = dead.lease.incarnation
        await stored(database, "INSERT INTO open_sessions VALUES ($1, $2, 'alice')", unheard_of, incarnation)
        await fence(database, dead.lease)
        target = a.reaper._events if step == "forget" else a.reaper
        monkeypatch.setattr(target, step, dying(getattr(target, step), after=after == "after"))
        with pytest.raises(ZeroDivisionError):
            await a.reaper.reap()
        await b.reaper.reap()
        await once_each(b, [*sessions, str(unheard_of)])
        assert await left_open(database) == []


def dying(step: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """Return a step of the reaper that raises before or after its work."""

    async def die(*arguments: Any) -> Any:
        if after:
            await step(*arguments)
        raise ZeroDivisionError

    return die


async def test_a_row_is_there_before_the_opening_and_until_after_the_closing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    async with place(database, "one") as one:
        offer = one.node.appender.offer

        def offering(entry: Any) -> Any:
            seen.append(len(entry.events))
            return offer(entry)

        monkeypatch.setattr(one.node.appender, "offer", offering)
        await one.node.stop()
        session = one.open()
        await until(lambda: seen)
        assert await left_open(database) == [UUID(session)]
        assert await history(one) == []


async def once_each(one: Place, sessions: list[str]) -> None:
    """Check that each session was opened once and closed once, in that order."""
    found: dict[str, list[str]] = {}
    for user in ("alice", *(f"user-{number}" for number in range(5))):
        for recorded in await history(one, user):
            assert isinstance(recorded.event, SessionOpened | SessionClosed)
            found.setdefault(recorded.event.session, []).append(type(recorded.event).__name__)
    assert found == {session: ["SessionOpened", "SessionClosed"] for session in sessions}
