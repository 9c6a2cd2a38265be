"""Leases on a real database: who is fenced, who may judge, and that the row decides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from service.cluster import leases
from service.cluster.leases import Lease
from service.errors import Unavailable
from tests.support.eventstore.log_node import stored
from tests.support.servers.databases import Database
from tests.support.waiting import until


@asynccontextmanager
async def holders(
    database: Database, *names: str, seconds: float = leases.LEASE
) -> AsyncIterator[list[Lease]]:
    """Give a lease per name, taken and renewed by tasks of their own."""
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=4) as pool:
        held = [Lease(pool, name, deadline=20, seconds=seconds) for name in names]
        tasks = [asyncio.create_task(lease.run()) for lease in held]
        try:
            for lease, task in zip(held, tasks, strict=True):
                await asyncio.wait(
                    [task, asyncio.ensure_future(lease.taken())], return_when="FIRST_COMPLETED"
                )
                assert not task.done(), task.exception()
            yield held
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def pass_time(database: Database, lease: Lease, seconds: float, *, unbroken: bool = True) -> None:
    """Let a row look as if so much time had passed for it without a renewal, or with all of them in time."""
    await stored(database, IN_TIME if unbroken else SILENT, lease.incarnation, seconds)


IN_TIME = """
    UPDATE incarnations SET unbroken_since = unbroken_since - $2 * interval '1 second' WHERE incarnation = $1
"""
SILENT = """
    UPDATE incarnations SET renewed_at = renewed_at - $2 * interval '1 second',
        expires_at = expires_at - $2 * interval '1 second' WHERE incarnation = $1
"""


async def row(database: Database, incarnation: object) -> asyncpg.Record:
    return (await stored(database, "SELECT * FROM incarnations WHERE incarnation = $1", incarnation))[0]


async def test_a_lease_is_taken_renewed_and_ended(database: Database) -> None:
    async with holders(database, "one", seconds=0.3) as (lease,):
        taken = await row(database, lease.incarnation)
        assert (taken["node"], taken["fenced_at"], taken["ended_at"]) == ("one", None, None)

        async def renewed() -> bool:
            return bool((await row(database, lease.incarnation))["expires_at"] > taken["expires_at"])

        await until(renewed)
        await lease.end()
        assert (await row(database, lease.incarnation))["ended_at"] is not None


async def test_a_lease_that_has_run_out_is_fenced_and_one_that_has_not_is_not(database: Database) -> None:
    async with holders(database, "judge", "well", "late", "stopped") as (judge, well, late, stopped):
        await pass_time(database, judge, 10)
        await pass_time(database, late, 2.5, unbroken=False)
        await pass_time(database, stopped, 30, unbroken=False)
        assert await judge.fence_expired() == [stopped.incarnation]
        assert await judge.fence_expired() == []
        for lease in (judge, well, late):
            assert (await row(database, lease.incarnation))["fenced_at"] is None


async def test_nobody_judges_before_a_whole_lease_of_unbroken_renewals(database: Database) -> None:
    async with holders(database, "new", "stopped") as (new, stopped):
        await pass_time(database, stopped, 30, unbroken=False)
        assert await new.fence_expired() == []
        await pass_time(database, new, 9)
        assert await new.fence_expired() == []
        await pass_time(database, new, 1)
        assert await new.fence_expired() == [stopped.incarnation]


async def test_after_an_outage_of_the_database_nobody_fences_anybody(database: Database) -> None:
    async with holders(database, "one", "other") as (one, other):
        for lease in (one, other):
            await pass_time(database, lease, 60)
            await pass_time(database, lease, 30, unbroken=False)
        # The first node back has a lease again, but a gap in its renewals.
        assert await one.fence_expired() == [], "its own lease has run out"
        await one._keep()
        assert await one.fence_expired() == []
        await other._keep()
        await pass_time(database, one, 10)
        assert await one.fence_expired() == []


async def test_a_pause_of_half_a_lease_breaks_the_row_of_renewals(database: Database) -> None:
    async with holders(database, "one") as (one,):
        before = (await row(database, one.incarnation))["unbroken_since"]
        await pass_time(database, one, 4, unbroken=False)
        await one._keep()
        assert (await row(database, one.incarnation))["unbroken_since"] == before
        await pass_time(database, one, 6, unbroken=False)
        await one._keep()
        assert (await row(database, one.incarnation))["unbroken_since"] > before


async def test_who_finds_itself_fenced_says_so_and_begins_a_new_incarnation(database: Database) -> None:
    async with holders(database, "judge", "stopped") as (judge, stopped):
        told: list[object] = []
        old = stopped.incarnation
        await pass_time(database, judge, 10)
        await pass_time(database, stopped, 30, unbroken=False)
        await judge.fence_expired()
        await stopped._keep(lambda: told.append(stopped.incarnation))
        assert stopped.incarnation != old
        assert told == [stopped.incarnation]
        assert (await row(database, old))["fenced_by"] == judge.incarnation
        assert (await row(database, await stopped.taken()))["fenced_at"] is None


async def test_a_lease_that_ran_out_without_being_fenced_goes_on(database: Database) -> None:
    async with holders(database, "alone") as (alone,):
        incarnation = alone.incarnation
        await pass_time(database, alone, 30, unbroken=False)
        await alone._keep()
        assert alone.incarnation == incarnation


async def test_two_judges_at_once_fence_once(database: Database) -> None:
    async with holders(database, "one", "other", "stopped") as (one, other, stopped):
        for judge in (one, other):
            await pass_time(database, judge, 10)
        await pass_time(database, stopped, 30, unbroken=False)
        found = await asyncio.gather(one.fence_expired(), other.fence_expired())
        assert sorted(map(len, found)) == [0, 1]


async def test_a_database_that_cannot_be_reached_fences_nobody(database: Database) -> None:
    async with asyncpg.create_pool(database.app_url, min_size=1, max_size=1) as pool:
        lease = Lease(pool, "one", deadline=0.2)

        def fenced() -> None:
            pytest.fail("not reaching the database is no reason")

        await lease._keep(fenced)
        held = await pool.acquire()
        with pytest.raises(Unavailable):
            await lease._keep(fenced)
        await pool.release(held)
        await lease._keep(fenced)


async def test_what_is_long_over_is_forgotten_unless_it_left_something_open(database: Database) -> None:
    async with holders(database, "judge", "clean", "untidy") as (judge, clean, untidy):
        await stored(
            database,
            "INSERT INTO open_sessions VALUES (gen_random_uuid(), $1, 'alice')",
            untidy.incarnation,
        )
        for lease in (clean, untidy):
            await lease.end()
        await stored(database, "UPDATE incarnations SET ended_at = ended_at - interval '8 days'")
        await leases.purge(judge._database, 20)
        left = {row["incarnation"] for row in await stored(database, "SELECT incarnation FROM incarnations")}
        assert left == {judge.incarnation, untidy.incarnation}
