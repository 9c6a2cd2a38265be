"""What the doctor finds in a Redis or Valkey: each fault is really made."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.cluster.envelope import channel_prefix
from service.config.settings import Settings
from service.doctor import redis
from service.doctor.finding import Finding, Level
from tests.support.servers.brokers import Broker, broker
from tests.support.servers.proxies import Swallowing, proxied

KEY = b"k" * 32


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.needs("redis-server"))])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with broker(request.param, tmp_path) as running:
        yield running


@pytest.fixture
async def client(server: Broker) -> AsyncIterator["Redis"]:
    async with Redis.from_url(server.url) as connected:
        yield connected


async def examine(url: str, key: bytes = KEY) -> dict[str, Finding]:
    settings = Settings(redis_url=url, bus_key=key, redis_timeout=1.0)
    return {finding.name: finding for finding in await redis.examine(settings)}


async def test_a_server_as_it_comes_is_well(server: Broker) -> None:
    found = await examine(server.url)
    assert {name: one.level for name, one in found.items()} == dict.fromkeys(
        ("redis", "publish", "buffers"), Level.OK
    )
    assert f"at 127.0.0.1:{server.port} answers" in found["redis"].words


async def test_a_server_that_is_away_is_found(server: Broker) -> None:
    server.kill()
    (finding,) = (await examine(server.url)).values()
    assert (finding.level, finding.code) == (Level.FAIL, 3)
    assert finding.words.startswith(f"127.0.0.1:{server.port} is not reached: ")


async def test_a_wrong_password_is_found_and_not_shown(server: Broker, client: "Redis") -> None:
    await client.config_set("requirepass", "right")
    (finding,) = (await examine(server.url.replace("//", "//:mistaken@"))).values()
    assert (finding.level, finding.code) == (Level.FAIL, 3)
    assert "mistaken" not in finding.words
    assert (await examine(server.url.replace("//", "//:right@")))["publish"].level is Level.OK


@pytest.mark.parametrize(
    ("limit", "words"), [("pubsub 0 0 0", "no bound for pubsub"), ("pubsub 1mb 1mb 60", "at 1,048,576 bytes")]
)
async def test_a_buffer_without_bound_or_too_small_is_found(
    server: Broker, client: "Redis", limit: str, words: str
) -> None:
    await client.config_set("client-output-buffer-limit", limit)
    finding = (await examine(server.url))["buffers"]
    assert finding.level is Level.WARN
    assert words in finding.words


async def test_a_memory_that_is_nearly_full_is_found(server: Broker, client: "Redis") -> None:
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", int(used * 1.01))
    assert (await examine(server.url))["memory"].level is Level.WARN


async def test_a_replica_is_found(server: Broker, client: "Redis") -> None:
    await client.replicaof("127.0.0.1", "1")
    assert (await examine(server.url))["bus"].level is Level.FAIL


async def test_a_login_that_may_only_publish_and_hear_is_enough(server: Broker, client: "Redis") -> None:
    commands = ["-@all", "+ping", "+publish", "+subscribe", "+unsubscribe"]
    await client.acl_setuser("node", enabled=True, passwords=["+secret"], channels=["*"], commands=commands)
    found = await examine(server.url.replace("//", "//node:secret@"))
    assert {one.level for one in found.values()} == {Level.OK}
    assert found["redis"].words.endswith("this login may not run INFO.")


async def test_a_login_that_may_not_publish_is_told_what_it_may_not(server: Broker, client: "Redis") -> None:
    commands = ["-@all", "+ping", "+subscribe", "+unsubscribe"]
    await client.acl_setuser("node", enabled=True, passwords=["+secret"], channels=["*"], commands=commands)
    finding = (await examine(server.url.replace("//", "//node:secret@")))["redis"]
    assert (finding.level, finding.code) == (Level.FAIL, 3)
    assert finding.words.startswith(f"127.0.0.1:{server.port} refuses this login: ")
    assert "publish" in finding.words


async def test_a_server_that_swallows_what_is_published_is_found(server: Broker) -> None:
    def swallowing(host: str, port: int) -> Swallowing:
        return Swallowing(host, port).about(b"probe")

    async with proxied(f"{server.url}/", swallowing) as (_, url):
        finding = (await examine(url))["publish"]
    assert finding.level is Level.FAIL
    assert finding.words == "A published message did not arrive within 1 s."


async def test_nodes_that_sign_with_another_key_are_found(server: Broker, client: "Redis") -> None:
    async with client.pubsub() as other:
        await other.subscribe(f"{channel_prefix(b'o' * 32)}nodes")
        await other.get_message(timeout=5)
        assert (await examine(server.url))["bus key"].level is Level.WARN
        await other.subscribe(f"{channel_prefix(KEY)}nodes")
        await other.get_message(timeout=5)
        assert "bus key" not in await examine(server.url)
