"""Daily activity: counted as a slow reading of the log counts, by days in UTC; later deletions change nothing."""

from datetime import UTC, datetime, timedelta

import asyncpg
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from projections import activity
from service.domain.events import MessagePosted, Recorded
from service.domain.streams import room_stream
from service.embedded import Servers
from tests.support.oracles import histories
from tests.support.oracles.histories import ROOMS, USERS, Wish
from tests.support.oracles.projected_log import World, world
from tests.support.projections.events import OPENED, joined, said
from tests.support.projections.views import Row, counted
from tests.support.servers.databases import fresh_database

# Each example is a database of its own, so to shrink one would outlast the time limit of a test; they are small anyway.
slow = settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])

MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)
"""The start of a day on which clocks change in much of the world."""

moments = st.integers(-3 * 86_400_000_000, 3 * 86_400_000_000).map(
    lambda microseconds: MIDNIGHT + timedelta(microseconds=microseconds)
) | st.sampled_from([MIDNIGHT, MIDNIGHT - timedelta(microseconds=1)])


def message(number: int, room: str, user: str, at: datetime) -> Recorded:
    event = MessagePosted(author=user, content="hello", ref="ref")
    return Recorded(room_stream(room), number, number, event.subject, at, user, event)


async def stored(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> list[Row]:
    rows = await connection.fetch(
        f"SELECT day, room_id, user_id, messages, first_at, last_at FROM {name} ORDER BY 1, 2, 3"  # noqa: S608 - ours
    )
    return [tuple(row) for row in rows]


@slow
@given(wanted=histories.wishes, cuts=st.lists(st.integers(1, 60), max_size=5))
async def test_counts_equal_a_slow_fold_of_the_log(
    servers: Servers, wanted: list[Wish], cuts: list[int]
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            head = await here.head()
            for cut in [*sorted(cuts), head]:
                await here.advance(activity.PROJECTION, min(cut, head))
            assert await stored(here.connection, "activity_v1") == counted(await here.log())
            owner = await asyncpg.connect(database.superuser_url)
            assert await stored(owner, "analytics.daily_activity") == counted(await here.log())
            await owner.close()


@slow
@given(
    posts=st.lists(st.tuples(st.sampled_from(ROOMS), st.sampled_from(USERS), moments), min_size=1),
    cut=st.integers(1, 20),
    zone=st.sampled_from(["UTC", "Pacific/Auckland", "America/Los_Angeles"]),
)
async def test_days_are_those_of_utc_wherever_the_database_stands(
    servers: Servers, posts: list[tuple[str, str, datetime]], cut: int, zone: str
) -> None:
    log = [message(number, *post) for number, post in enumerate(posts, 1)]
    with fresh_database(servers) as database:
        connection = await asyncpg.connect(database.worker_url)
        try:
            await connection.execute(f"SET TIME ZONE '{zone}'")
            for batch in (log[:cut], log[cut:]):
                if batch:
                    await activity.apply(connection, "activity_v1", batch)
            assert await stored(connection, "activity_v1") == counted(log)
        finally:
            await connection.close()


async def test_what_was_written_stays_counted_when_its_author_is_erased(here: World) -> None:
    await here.happen(OPENED, joined("bob"), said("one"), said("two"), said("three", "bob"))
    await here.project()
    before = await here.rows(activity.PROJECTION)
    await here.as_owner("DELETE FROM person_keys WHERE person = 'alice'")
    here.node.keys.forget("alice")
    await here.happen(said("four", "bob"))
    await here.project()
    after = await here.rows(activity.PROJECTION)
    assert [(row["user_id"], row["messages"]) for row in before] == [("alice", 2), ("bob", 1)]
    assert [(row["user_id"], row["messages"]) for row in after] == [("alice", 2), ("bob", 2)]
