"""Postgres and Redis answer nothing: connections stay open and swallow everything. Nothing hangs, and all comes back.

Every command here is answered while the outage lasts: nothing waits for it to close. The test's own time limit is the
only clock.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.embedded import Servers
from tests.support.clients.native import Client, Refused, client, raw
from tests.support.environment import environment, token
from tests.support.http.metrics import Numbers, number, scraped, scraped_until
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy, proxied

pytestmark = pytest.mark.logs(*OUTAGE)

MANY = 30
"""More than a pool has connections."""


@asynccontextmanager
async def node_behind(database: Database, **settings: str) -> AsyncIterator[tuple[Process, Proxy]]:
    """Give a node with a proxy before its database."""
    async with proxied(database.app_url, Proxy) as (postgres, url):
        env = environment(
            database,
            ONRECORD_DATABASE_URL=url,
            ONRECORD_DATABASE_TIMEOUT="1",
            ONRECORD_DRAIN_SECONDS="2",
            **settings,
        )
        async with running(env, "serve") as node:
            yield node, postgres


async def settle(alice: Client) -> None:
    """Join, and wait for live delivery: a client that still catches up when the log cannot be read is disconnected."""
    await alice.join("general")
    await alice.post("general", "settled")
    await alice.until(lambda: alice.events("message:new", content="settled"))


async def refused(alice: Client, kind: str, **fields: object) -> str:
    """Return the code with which a command is refused."""
    with pytest.raises(Refused) as caught:
        await alice.say(kind, **fields)
    return str(caught.value.code)


def nobody_waits(numbers: Numbers) -> bool:
    """Return whether every connection to the database that is free can be had."""
    return not any(number(numbers, "onrecord_pool_waiting", pool=pool) for pool in ("log", "reads"))


async def until_well(alice: Client) -> None:
    """Wait until a command of each kind is answered again."""
    for kind, fields in (("message:send", {"content": "well again"}), ("message:history", {})):
        while True:
            try:
                await alice.say(kind, roomId="general", **fields)
                break
            except Refused as refusal:
                assert refusal.error["retryable"]
                await asyncio.sleep(0.05)


async def test_commands_are_unavailable_while_postgres_is_unresponsive(
    database: Database,
) -> None:
    async with node_behind(database) as (node, postgres):
        async with client(node.url, "alice") as alice, httpx.AsyncClient(base_url=node.address) as http:
            await settle(alice)
            headers = {"Authorization": f"Bearer {token('alice')}"}
            for _ in range(2):  # it comes back, and again
                postgres.hold()
                commands: dict[str, dict[str, Any]] = {
                    "message:send": {"roomId": "general", "content": "into the hole"},
                    "message:edit": {"roomId": "general", "messageId": 3, "content": "into the hole"},
                    "message:history": {"roomId": "general"},
                    "message:read": {"roomId": "general", "messageId": 1},
                    "room:list": {},
                    "room:join": {"roomId": "another"},
                    "room:create": {"name": "Third", "visibility": "public"},
                }
                codes = await asyncio.gather(
                    *(refused(alice, kind, **fields) for kind, fields in commands.items()),
                )
                assert set(codes) == {"unavailable"}
                answers = await asyncio.gather(
                    *(http.get("/api/rooms", headers=headers, timeout=60) for _ in range(MANY))
                )
                assert {answer.status_code for answer in answers} == {503}
                assert (await http.get("/readyz", timeout=60)).status_code == 503
                assert (await http.get("/healthz")).status_code == 200
                await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_ready") == 0)
                await postgres.restore()
                await until_well(alice)
            await scraped_until(node.address, nobody_waits)
            await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_ready") == 1)
            assert (await http.get("/readyz")).status_code == 200


@pytest.mark.logs("connect_failed")
async def test_connects_are_told_to_retry_while_postgres_is_unresponsive(
    database: Database,
) -> None:
    async with node_behind(database) as (node, postgres):
        async with client(node.url, "alice") as alice:
            await settle(alice)
            postgres.hold()
            async with raw(node.url) as socket:
                frame = {
                    "type": "connect",
                    "protocol": 1,
                    "token": token("bob", name="Bob"),
                    "rooms": {"general": 0},
                }
                await socket.send(json.dumps(frame))
                await asyncio.wait_for(socket.wait_closed(), 60)
                assert socket.close_code == 4000
            await postgres.restore()
            await until_well(alice)
        (line,) = (json.loads(line) for line in node.words if '"connect_failed"' in line)
        assert line["problem"] == "Unavailable unavailable"
        async with client(node.url, "bob", {"general": 0}, name="Bob") as bob:
            assert bob.connected["rooms"]["general"]["reason"] == "not_a_member"


async def test_a_node_stops_in_order_while_its_servers_swallow_everything(
    database: Database, servers: Servers
) -> None:
    async with proxied(f"{servers.redis_url}/", Proxy) as (redis, bus):
        async with node_behind(database, ONRECORD_REDIS_URL=bus) as (node, postgres):
            async with client(node.url, "alice") as alice:
                await settle(alice)
                await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
                postgres.hold()
                redis.hold()
                said = [
                    asyncio.create_task(
                        refused(alice, "message:send", roomId="general", content="last words")
                    ),
                    asyncio.create_task(refused(alice, "room:list")),
                ]
                assert {await each for each in said} == {"unavailable"}
                assert await asyncio.wait_for(node.stop(), 60) == 0
                assert await alice.closed() == 4000


async def test_node_started_with_unresponsive_servers_becomes_ready(
    database: Database, servers: Servers
) -> None:
    async with (
        proxied(f"{servers.redis_url}/", Proxy) as (redis, bus),
        proxied(database.app_url, Proxy) as (postgres, url),
    ):
        postgres.hold()
        redis.hold()
        env = environment(
            database, ONRECORD_DATABASE_URL=url, ONRECORD_DATABASE_TIMEOUT="1", ONRECORD_REDIS_URL=bus
        )
        async with running(env, "serve") as node, httpx.AsyncClient(base_url=node.address) as http:
            assert (await http.get("/readyz", timeout=60)).status_code == 503
            await postgres.restore()
            await redis.restore()
            await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_ready") == 1)
            await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
            async with client(node.url, "alice") as alice:
                await settle(alice)


async def test_a_redis_that_swallows_everything_delays_no_ack_and_is_heard_again(
    database: Database, servers: Servers
) -> None:
    async with proxied(f"{servers.redis_url}/", Proxy) as (redis, bus):
        env = environment(database, ONRECORD_REDIS_URL=bus, ONRECORD_REDIS_TIMEOUT="0.5")
        async with running(env, "serve") as node, client(node.url, "alice") as alice:
            await settle(alice)
            await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
            redis.hold()
            while number(await scraped(node.address), "onrecord_bus_up"):
                await alice.post("general", "while Redis is silent")
            assert number(await scraped(node.address), "onrecord_bus_dropped_total") > 0
            await redis.restore()
            await scraped_until(node.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)


async def test_a_projector_says_one_line_of_an_outage_and_goes_on_by_itself(database: Database) -> None:
    async with proxied(database.worker_url, Proxy) as (postgres, url):
        env = environment(database, ONRECORD_PROJECTOR_DATABASE_URL=url, ONRECORD_DATABASE_TIMEOUT="1")
        async with (
            running(environment(database), "serve") as node,
            running(env, "project", "run") as projector,
            client(node.url, "alice") as alice,
        ):
            await settle(alice)
            await _until_said(projector, "projection_leads")
            postgres.refuse()
            await _until_said(projector, "projection_waits")
            await alice.post("general", "nobody projects")
            await asyncio.sleep(3)  # several tries
            await postgres.restore()
            await _until_said(projector, "projection_goes_on")
            lag = {"projection": "messages"}
            await scraped_until(
                node.address, lambda numbers: number(numbers, "onrecord_projection_lag_events", **lag) == 0
            )
    lines = [json.loads(line) for line in projector.words]
    assert not [line for line in lines if "exception" in line]
    waits = [line["projection"] for line in lines if line["event"] == "projection_waits"]
    assert len(waits) == len(set(waits)), "an outage is one line for each projection"
    assert len([line for line in lines if line["event"] == "task_waits"]) <= 1, "and one for the sealer"


async def _until_said(process: Process, event: str) -> None:
    async with asyncio.timeout(60):
        while not any(f'"event": "{event}"' in line for line in process.words):
            await asyncio.sleep(0.05)
