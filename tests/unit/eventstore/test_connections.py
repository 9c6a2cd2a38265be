"""What is between is found out, and a connection is opened by it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.eventstore.connections import PLANS, Connector, NoSession, Pool, Pooling, detect, is_shared
from tests.support.processes.poolers import Pooler, pooler
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy, proxied

SEQSCAN = "SELECT current_setting('enable_seqscan')"
needs_pgbouncer = pytest.mark.needs("pgbouncer")


@pytest.fixture(params=[1, 20])
def shared(database: Database, place: Path, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    with pooler(database, "transaction", place, request.param) as made:
        yield made


@pytest.fixture
def session(database: Database, place: Path) -> Iterator[Pooler]:
    with pooler(database, "session", place) as made:
        yield made


async def test_no_pooler_is_found_on_a_direct_connection_and_through_a_proxy(database: Database) -> None:
    assert await detect(database.app_url, 20) is Pooling.NONE
    async with proxied(database.app_url, Proxy) as (_, url):
        assert await detect(url, 20) is Pooling.NONE


async def test_settings_are_those_of_a_direct_connection(database: Database) -> None:
    connection = await Connector(database.app_url, 20).connect(PLANS)
    assert await connection.fetchval(SEQSCAN) == "off"
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 2
    assert not is_shared(connection)
    await connection.close()


@needs_pgbouncer
async def test_session_mode_is_found_and_changes_nothing(session: Pooler) -> None:
    url = session.database.app_url
    assert await detect(url, 20) is Pooling.SESSION
    connection = await Connector(url, 20).session(PLANS)
    assert await connection.fetchval(SEQSCAN) == "off"
    assert not is_shared(connection)
    await connection.close()


@needs_pgbouncer
async def test_transaction_mode_is_found_with_one_server_process_and_with_many(shared: Pooler) -> None:
    url = shared.database.app_url
    pool = Pool(Connector(url, 20), 10, 20)
    await pool
    stop = asyncio.Event()

    async def busy() -> None:
        while not stop.is_set():
            await pool.fetchval("SELECT 1")

    others = [asyncio.create_task(busy()) for _ in range(4)]
    try:
        found = [await detect(url, 20) for _ in range(8)]
        assert set(found) == {Pooling.TRANSACTION}
    finally:
        stop.set()
        await asyncio.gather(*others)
        await pool.shut_down()


@needs_pgbouncer
async def test_a_shared_session_keeps_nothing(shared: Pooler, database: Database) -> None:
    connector = Connector(shared.database.app_url, 20)
    pool = Pool(connector, 4, 20)
    await pool
    await asyncio.gather(*(pool.fetchval("SELECT pg_sleep($1) IS NULL", 0.01 * n) for n in range(8)))
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        assert await connection.fetchval("SELECT $1::int", 5) == 5
    owner = await asyncpg.connect(database.superuser_url)
    left = await pool.fetch("SELECT name FROM pg_prepared_statements")
    assert left == []
    assert await pool.fetchval(SEQSCAN) == "on"
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert await owner.fetchval(locks) == 0
    await owner.close()
    with pytest.raises(NoSession, match="ONRECORD_DATABASE_SESSION_URL"):
        await connector.session()
    await pool.shut_down()


async def test_a_declared_pooling_is_not_detected(database: Database) -> None:
    connector = Connector(database.app_url, 20, Pooling.TRANSACTION)
    connection = await connector.connect(PLANS)
    assert is_shared(connection)
    assert await connection.fetchval(SEQSCAN) == "on"
    await connection.fetch("SELECT $1::int", 1)
    assert await connection.fetch("SELECT name FROM pg_prepared_statements") == []
    await connection.close()


async def test_detection_that_fails_is_repeated(database: Database) -> None:
    async with proxied(database.app_url, Proxy) as (postgres, url):
        connector = Connector(url, 20)
        postgres.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connector.connect()
        await postgres.restore()
        connection: Any = await connector.connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_statements_of_two_processes_have_different_names(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = Connector(database.app_url, 20)
    names = []
    for process in ("one", "other"):
        monkeypatch.setattr("service.eventstore.connections._PROCESS", process)
        connection = await connector.connect()
        await connection.fetch("SELECT 1")
        names += [row["name"] for row in await connection.fetch("SELECT name FROM pg_prepared_statements")]
        await connection.close()
    assert len(names) == len(set(names)) == 4
