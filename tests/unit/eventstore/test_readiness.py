"""Whether the log answers, asked by many: few questions, over a connection that nothing else uses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from service.config.settings import Settings
from service.eventstore import readiness
from service.eventstore.readiness import Probe
from service.node.node import node
from tests.support.environment import environment
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy, proxied


class Asked:
    """Makes connections to a database and counts them and what is asked over them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.connections = self.questions = 0
        self.go = asyncio.Event()
        self.go.set()

    async def connect(self) -> Any:
        self.connections += 1
        self._connection = await asyncpg.connect(self._url)
        return self

    async def fetch(self, question: str) -> Any:
        self.questions += 1
        await self.go.wait()
        return await self._connection.fetch(question)

    def terminate(self) -> None:
        self._connection.terminate()


@asynccontextmanager
async def asking(connect: Any) -> AsyncIterator[Probe]:
    probe = Probe(connect)
    try:
        yield probe
    finally:
        await probe.close()


async def test_many_callers_share_one_question(database: Database) -> None:
    asked = Asked(database.app_url)
    async with asking(asked.connect) as probe:
        asked.go.clear()
        callers = [asyncio.create_task(probe.answers()) for _ in range(1_000)]
        while not asked.questions:
            await asyncio.sleep(0.01)
        callers[0].cancel()  # which takes the answer from no other
        asked.go.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert answers[1:] == [True] * 999
        assert (asked.connections, asked.questions) == (1, 1)


async def test_an_answer_is_given_again_for_as_long_as_it_is_fresh(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(database.app_url)
    monkeypatch.setattr(readiness, "FRESH", 1_000.0)
    async with asking(asked.connect) as probe:
        for _ in range(5_000):
            assert await probe.answers()
        assert (asked.connections, asked.questions) == (1, 1)
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    async with asking(asked.connect) as probe:
        assert [await probe.answers() for _ in range(5)] == [True] * 5
        assert (asked.connections, asked.questions) == (2, 6)


async def test_a_log_that_swallows_everything_does_not_answer_and_does_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "WITHIN", 0.3)
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    async with (
        proxied(database.app_url, Proxy) as (proxy, url),
        asking(lambda: asyncpg.connect(url)) as probe,
    ):
        monkeypatch.setattr(readiness, "WITHIN", 60.0)
        assert await probe.answers()
        monkeypatch.setattr(readiness, "WITHIN", 0.3)
        proxy.hold()
        assert not await probe.answers()
        assert not await probe.answers()
        monkeypatch.setattr(readiness, "WITHIN", 60.0)
        await proxy.restore()
        assert await probe.answers()
        proxy.cut()  # as a restarted database does: it answers over a new connection, at once
        assert await probe.answers()
        proxy.refuse()
        assert not await probe.answers()


async def test_a_node_is_ready_while_its_pools_are_exhausted(database: Database) -> None:
    settings = Settings.from_env(environment(database, ONRECORD_POOL_SIZE="2"))
    async with node(settings) as running:
        pools: list[Any] = [running.storage.pool, running.storage.read_pool]
        taken = [await pool.acquire() for pool in pools for _ in range(settings.pool_size)]
        app = Starlette(routes=running.gateway.routes)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as http:
            answers = await asyncio.gather(*(http.get("/readyz") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        for connection in taken:
            connection.terminate()
