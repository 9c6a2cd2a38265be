"""The pool counts who waits, and waits itself for no server that says nothing."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.eventstore.connections import Connector, Pool
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy, proxied
from tests.support.waiting import until


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    made = Pool(Connector(database.app_url, 20), 1, 20)
    await made
    yield made
    await made.shut_down()


async def test_whoever_waits_for_a_connection_is_counted_until_they_have_it(pool: Pool) -> None:
    async with pool.acquire():
        waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
        await until(lambda: pool.waiting == 1)
    assert await waiting == 1
    assert pool.waiting == 0
    assert sum(pool.waits.counts) == 2


async def test_whoever_gives_up_waiting_is_counted_no_more(pool: Pool) -> None:
    async with pool.acquire():
        waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
        await until(lambda: pool.waiting == 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert pool.waiting == 0


async def test_connection_that_fails_its_reset_is_cut_and_the_result_stands(
    database: Database,
) -> None:
    async with proxied(database.app_url, Proxy) as (postgres, url):
        pool = Pool(Connector(url, 20), 1, 20)
        await pool
        asyncio.get_running_loop().set_exception_handler(lambda *_about: None)  # the library calls it one
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            assert await connection.fetchval("SELECT 1") == 1
            postgres.hold()
        assert pool.get_size() == 0
        await postgres.restore()
        assert await pool.fetchval("SELECT 2") == 2
        await pool.shut_down()


async def test_cancelled_call_frees_its_slot_while_the_server_is_silent(
    database: Database,
) -> None:
    async with proxied(database.app_url, Proxy) as (postgres, url):
        pool = Pool(Connector(url, 20), 1, 20)
        await pool
        await pool.fetchval("SELECT 1")
        postgres.hold()
        with pytest.raises((TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            async with asyncio.timeout(0.1):
                await pool.fetchval("SELECT 1")
        assert pool.get_size() == 0
        await pool.shut_down()


async def test_returning_a_connection_costs_no_query_and_ends_its_transaction(pool: Pool) -> None:
    last = "SELECT query FROM pg_stat_activity WHERE pid = $1"
    pid = await pool.fetchval("SELECT pg_backend_pid()")
    async with pool.acquire() as connection:
        assert await connection.fetchval(last, pid) == last
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_about: None)  # the library calls it one
        await connection.execute("BEGIN")
        await connection.execute("CREATE TEMPORARY TABLE left_open (number int)")
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == pid
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT to_regclass('left_open')") is None
