"""The database's time, estimated between two queries."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from service.runtime.server_clock import ServerClock
from tests.support.servers.databases import Database


async def test_the_time_is_the_databases(database: Database) -> None:
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=1) as pool:
        clock = ServerClock(pool, 5)
        await clock.synchronize()
        before = await pool.fetchval("SELECT clock_timestamp()")
        told = clock.now()
        after = await pool.fetchval("SELECT clock_timestamp()")
        slack = timedelta(seconds=1)
        assert before - slack <= told <= after + slack
        assert told.utcoffset() == timedelta(0)


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.0), (0.0, 0.2)], ids=["slow to ask", "slow to answer"])
async def test_clock_is_never_ahead_of_the_database(before: float, after: float) -> None:
    steady = asyncio.get_running_loop().time

    class Pool:
        """A database whose clock is the loop's."""

        async def fetchval(self, _query: str) -> datetime:
            await asyncio.sleep(before)
            told = datetime.fromtimestamp(steady(), UTC)
            await asyncio.sleep(after)
            return told

    clock = ServerClock(cast("Any", Pool()), 5)
    await clock.synchronize()
    told = clock.now()
    assert told <= datetime.fromtimestamp(steady(), UTC)


@pytest.mark.parametrize("ahead", [timedelta(days=-400), timedelta(hours=3)])
async def test_a_node_whose_own_clock_is_wrong_tells_the_right_time(ahead: timedelta) -> None:
    class Pool:
        async def fetchval(self, _query: str) -> datetime:
            return datetime.now(UTC) + ahead

    clock = ServerClock(cast("Any", Pool()), 5)
    await clock.synchronize()
    first = clock.now()
    await asyncio.sleep(0.05)
    assert clock.now() > first
    assert abs(clock.now() - (datetime.now(UTC) + ahead)) < timedelta(seconds=5)
