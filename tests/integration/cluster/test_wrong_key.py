"""A process that lacks a key encryption key in use ends with 2 and writes nothing that the others cannot read."""

import base64

import httpx
import pytest

from tests.support.clients.native import Refused, client
from tests.support.environment import KEY_ENCRYPTION_KEY, environment
from tests.support.eventstore.log_node import stored
from tests.support.processes.processes import Process, ended, run, running, start, wait_for_address
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy, proxied
from tests.support.waiting import until

OTHER = base64.b64encode(bytes(range(32))).decode()
SENTENCE = (
    "ONRECORD_KEY_ENCRYPTION_KEY lacks a key with which this log is encrypted: set the key of this installation, and "
    "while it is rotated every key that is in use."
)
COMMANDS = [
    ["serve"],
    ["serve", "--workers", "2"],
    ["project", "run"],
    ["project", "run", "--only", "messages"],
]


def with_key(database: Database, key: str, **settings: str) -> dict[str, str]:
    return environment(database, ONRECORD_KEY_ENCRYPTION_KEY=key, **settings)


async def post(node: Process, user: str, text: str) -> None:
    async with client(node.url, user) as speaker:
        await speaker.join("general")
        await speaker.post("general", text)


def sentences(problem: str) -> set[str]:
    return {line for line in problem.splitlines() if not line.startswith("{")}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_it_ends_with_2_at_the_start(node: Process, database: Database, command: list[str]) -> None:
    await post(node, "alice", "sealed")
    code, out, problem = await run(with_key(database, OTHER), *command)
    assert (code, out, sentences(problem)) == (2, "", {SENTENCE})


async def test_a_node_ends_with_2_when_the_log_becomes_available(node: Process, database: Database) -> None:
    await post(node, "alice", "sealed")
    async with proxied(database.app_url, Proxy) as (proxy, url):
        proxy.refuse()
        outsider = await start(with_key(database, OTHER, ONRECORD_DATABASE_URL=url), "serve")
        await wait_for_address(outsider)
        async with httpx.AsyncClient(base_url=outsider.address) as http:
            assert (await http.get("/readyz")).status_code == 503
        await proxy.restore()
        code, _, problem = await ended(outsider)
        assert (code, sentences(problem)) == (2, {SENTENCE})
        assert '"event":"ready"' not in problem


async def test_a_projector_ends_with_2_when_the_log_becomes_available(
    node: Process, database: Database
) -> None:
    await post(node, "alice", "sealed")
    async with proxied(database.worker_url, Proxy) as (proxy, url):
        proxy.refuse()
        env = with_key(database, OTHER, ONRECORD_PROJECTOR_DATABASE_URL=url)
        async with running(env, "project", "run") as outsider:
            await until(lambda: any("task_waits" in line for line in outsider.words))
            await proxy.restore()
            assert await outsider.process.wait() == 2
        assert SENTENCE + "\n" in outsider.words
    assert not await stored(database, "SELECT * FROM seal_keys")


async def test_a_projector_that_starts_before_its_database_projects(
    node: Process, database: Database
) -> None:
    await post(node, "alice", "sealed")
    async with proxied(database.worker_url, Proxy) as (proxy, url):
        proxy.refuse()
        env = environment(database, ONRECORD_PROJECTOR_DATABASE_URL=url)
        async with running(env, "project", "run") as projector:
            await until(lambda: any("task_waits" in line for line in projector.words))
            await proxy.restore()
            await until(
                lambda: stored(database, "SELECT FROM read_models.messages_v2 WHERE content = 'sealed'")
            )


@pytest.mark.logs("key_not_created", "unreadable_event")
async def test_of_two_keys_on_an_empty_log_the_first_in_use_is_the_only_one(
    node: Process, database: Database
) -> None:
    """Both nodes start while the log is empty: nothing shows yet which of them has the wrong key."""
    async with running(with_key(database, OTHER), "serve") as outsider:
        await post(node, "alice", "sealed")
        with pytest.raises(Refused, match="unavailable"):
            await post(outsider, "bob", "lost")
        assert any("key_not_created" in line for line in outsider.words)
        await post(node, "bob", "kept")
    assert len(await stored(database, "SELECT FROM key_encryption_keys")) == 1
    code, lines, _ = await run(environment(database), "audit", "replay", "--room", "general")
    assert code == 0
    assert "kept" in lines
    assert "lost" not in lines


@pytest.mark.logs("unreadable_event")
async def test_during_a_rotation_both_orders_serve_and_the_old_key_does_not(
    node: Process, database: Database
) -> None:
    await post(node, "alice", "old")
    for number, keys in enumerate((f"{KEY_ENCRYPTION_KEY},{OTHER}", f"{OTHER},{KEY_ENCRYPTION_KEY}")):
        async with running(with_key(database, keys), "serve") as rotating:
            await post(rotating, f"user{number}", f"said with {number}")
    code, _, problem = await run(environment(database), "serve")
    assert (code, sentences(problem)) == (2, {SENTENCE})
    async with (
        running(with_key(database, keys), "project", "run"),
        running(with_key(database, keys), "serve") as last,
    ):
        await post(last, "carol", "together")
        count = "SELECT count(*) AS n FROM read_models.messages_v2 WHERE content IS NOT NULL"

        async def all_projected() -> bool:
            return [row["n"] for row in await stored(database, count)] == [4]

        await until(all_projected)
