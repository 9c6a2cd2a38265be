"""The database's time, told between two questions."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from service.log.clock import Clock
from tests.databases import Database


async def test_the_time_is_the_databases(database: Database) -> None:
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=1) as pool:
        clock = Clock(pool, 5)
        await clock.ask()
        before = await pool.fetchval("SELECT clock_timestamp()")
        told = clock.now()
        after = await pool.fetchval("SELECT clock_timestamp()")
        slack = timedelta(seconds=1)
        assert before - slack <= told <= after + slack
        assert told.utcoffset() == timedelta(0)


@pytest.mark.parametrize("ahead", [timedelta(days=-400), timedelta(hours=3)])
async def test_a_node_whose_own_clock_is_wrong_tells_the_right_time(ahead: timedelta) -> None:
    class Pool:
        async def fetchval(self, _query: str) -> datetime:
            return datetime.now(UTC) + ahead

    clock = Clock(cast("Any", Pool()), 5)
    await clock.ask()
    first = clock.now()
    await asyncio.sleep(0.05)
    assert clock.now() > first
    assert abs(clock.now() - (datetime.now(UTC) + ahead)) < timedelta(seconds=5)
