"""Every supervised background task has a whole-system test that takes its real path with its real payload.

Of `TESTS`, those of adds, clock, keys, lag, notify, ready, seal and tail were seen to fail without their task. Those of
probe and project pass without it: a node's other messages on the bus return too, and queries apply the log's tail. The
tests below are for tasks that no other whole-system test depends on.
"""

import ast
import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from service.cluster.heartbeat import DOWN_AFTER
from service.embedded import Servers
from service.gateway.auth.rate_limit import PUBLISH_EVERY
from tests.support.clients.native import Client, Refused, client
from tests.support.docs.named_tests import not_collected
from tests.support.environment import ROOT, environment
from tests.support.http.metrics import answering, number, scraped_until
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.servers.ports import free_ports
from tests.support.servers.proxies import Proxy, proxied
from tests.support.waiting import until

TESTS = {
    "append": (
        "integration/ops/test_metrics.py",
        "test_the_numbers_of_two_nodes_are_those_of_what_happened",
    ),
    "relay": (
        "integration/ops/test_metrics.py",
        "test_the_numbers_of_two_nodes_are_those_of_what_happened",
    ),
    "probe": (
        "integration/ops/test_background_tasks.py",
        "test_a_bus_without_messages_stays_up",
    ),
    "ready": (
        "integration/cluster/test_unresponsive_servers.py",
        "test_node_started_with_unresponsive_servers_becomes_ready",
    ),
    "notify": (
        "integration/ops/test_background_tasks.py",
        "test_an_append_wakes_the_tails_of_all_nodes",
    ),
    "receipts": (
        "integration/chat/test_read_markers.py",
        "test_receipts_are_sent_again_after_an_outage_of_the_bus",
    ),
    "presence": (
        "integration/chat/test_presence.py",
        "test_presence_and_typing_cross_from_node_to_node",
    ),
    "notices": (
        "integration/chat/test_presence.py",
        "test_a_disconnect_is_told_after_the_grace_and_a_return_too",
    ),
    "typing": (
        "integration/chat/test_presence.py",
        "test_typing_is_told_to_the_others_and_stops_by_itself",
    ),
    "rate": (
        "integration/abuse/test_shared_limits.py",
        "test_commands_a_second_are_counted_over_two_nodes",
    ),
    "adds": (
        "integration/ops/test_background_tasks.py",
        "test_additions_are_counted_over_two_nodes",
    ),
    "budget": (
        "integration/abuse/test_shared_limits.py",
        "test_the_day_counts_over_two_nodes",
    ),
    "tokens": (
        "integration/auth/test_native_connect.py",
        "test_a_token_that_runs_out_ends_the_connection_unless_it_is_renewed",
    ),
    "pulse": (
        "integration/ops/test_background_tasks.py",
        "test_the_lag_of_the_loop_is_measured_in_node_and_projector",
    ),
    "keys": (
        "integration/auth/test_identity_provider.py",
        "test_published_keys_are_read_before_a_client_connects",
    ),
    "tail": (
        "integration/ops/test_background_tasks.py",
        "test_an_append_wakes_the_tails_of_all_nodes",
    ),
    "lease": (
        "integration/audit/test_session_log.py",
        "test_a_node_that_stood_still_too_long_is_fenced_and_goes_on_as_another",
    ),
    "visits": (
        "integration/audit/test_session_log.py",
        "test_a_session_is_on_the_record_with_what_was_written_to_it",
    ),
    "reap": (
        "integration/audit/test_session_log.py",
        "test_a_node_that_is_killed_has_its_sessions_closed_by_another_once",
    ),
    "clock": (
        "integration/ops/test_background_tasks.py",
        "test_a_node_that_was_started_without_postgres_sends_over_the_bus",
    ),
    "lag": (
        "integration/ops/test_metrics.py",
        "test_node_reports_projection_lag_and_projector_its_work",
    ),
    "expire": (
        "integration/audit/test_midnight.py",
        "test_a_node_expires_content_by_itself",
    ),
    "purge": (
        "integration/ops/test_background_tasks.py",
        "test_a_node_deletes_expired_refs_and_leases_by_itself",
    ),
    "seal": (
        "integration/audit/test_proof.py",
        "test_a_checkpoint_kept_elsewhere_verifies_the_log_later",
    ),
    "project": (
        "docs/test_tutorial.py",
        "test_every_command_of_the_tutorial_prints_what_the_page_shows",
    ),
    "servers": (
        "integration/ops/test_dev.py",
        "test_a_killed_server_is_started_again_and_people_go_on",
    ),
}
"""The file and name of each supervised task's test."""


def supervised() -> Iterator[str]:
    """Yield the names of the tasks in the code: the keywords of `background`, and the keys of `_tasks` for `**`."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "supervise.background":
                for keyword in call.keywords:
                    yield from [keyword.arg] if keyword.arg else _listed(tree, path)


def _listed(tree: ast.Module, path: Path) -> Iterator[str]:
    """Yield the string keys in the functions of a module that list tasks."""
    functions = [
        each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name.endswith("_tasks")
    ]
    assert functions, path
    for node in (node for function in functions for node in ast.walk(function)):
        keys = node.keys if isinstance(node, ast.Dict) else []
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = [node.slice]
        for key in keys:
            assert isinstance(key, ast.Constant), f"{path}: a task without a literal name"
            yield str(key.value)


async def test_every_supervised_task_has_a_whole_system_test() -> None:
    assert {*supervised()} == TESTS.keys()
    assert await not_collected({f"tests/{file}::{name}" for file, name in TESTS.values()}) == set()


async def test_the_metrics_name_the_tasks_of_node_and_projector(database: Database) -> None:
    """`onrecord_task_failures_total` is 0 for each from the start, so that an alert sees the first failure."""
    port = free_ports()
    names: set[str] = set()
    async with (
        running(environment(database), "serve") as node,
        running(environment(database, ONRECORD_METRICS_PORT=str(port)), "project", "run"),
        answering(port) as projector,
    ):
        for address in (node.address, projector):
            numbers = await scraped_until(
                address, lambda numbers: any(name == "onrecord_task_failures_total" for name, _ in numbers)
            )
            found = {labels for name, labels in numbers if name == "onrecord_task_failures_total"}
            names |= {dict(labels)["task"] for labels in found}
            assert {numbers["onrecord_task_failures_total", labels] for labels in found} == {0}
    # These run with a JWKS or in `onrecord dev` only.
    assert {*supervised()} - names == {"keys", "project", "servers"}


async def test_a_bus_without_messages_stays_up(database: Database, servers: Servers) -> None:
    async with two_nodes(database, servers) as (one, _):
        await scraped_until(one.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
        await asyncio.sleep(DOWN_AFTER + 1)  # it counts as down unless a probe returns
        await scraped_until(one.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)


async def test_a_node_that_was_started_without_postgres_sends_over_the_bus(
    database: Database, servers: Servers
) -> None:
    """Its messages are refused until it has the database's time."""
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url)
    async with proxied(database.app_url, Proxy) as (postgres, url):
        postgres.hold()
        late = env | {"ONRECORD_DATABASE_URL": url, "ONRECORD_DATABASE_TIMEOUT": "1"}
        async with (
            running(late | {"ONRECORD_NODE": "late"}, "serve") as one,
            running(env | {"ONRECORD_NODE": "other"}, "serve") as other,
        ):
            await postgres.restore()
            await scraped_until(one.address, lambda numbers: number(numbers, "onrecord_ready") == 1)
            async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
                await alice.join("general")
                await bob.join("general")
                while not bob.events("typing:start", userId="alice"):
                    await alice.say("typing:start", roomId="general")
                    await alice.say("typing:stop", roomId="general")
                    await asyncio.sleep(0.1)


def received(listener: Client, messages: int) -> bool:
    return len(listener.events("message:new")) == messages


@pytest.mark.timeout(60)
async def test_an_append_wakes_the_tails_of_all_nodes(database: Database) -> None:
    """Without a bus, and with a poll of the log that is longer than this test may take."""
    env = environment(database, ONRECORD_CATCHUP_INTERVAL="3600")
    async with (
        running(env | {"ONRECORD_NODE": "one"}, "serve") as one,
        running(env | {"ONRECORD_NODE": "other"}, "serve") as other,
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
    ):
        await bob.join("general")
        await alice.join("general")
        for count in range(1, 4):
            await alice.post("general", "hello")
            await bob.until(partial(received, bob, count))


async def test_additions_are_counted_over_two_nodes(database: Database, servers: Servers) -> None:
    async with (
        two_nodes(database, servers, ONRECORD_ADDS_PER_HOUR="10") as (one, other),
        client(one.url, "alice") as here,
        client(other.url, "alice") as there,
    ):
        await here.say("room:create", name="All", members=[f"person-{number}" for number in range(10)])

        async def refused() -> bool:
            """Add somebody on the other node, which allows ten of its own until it learns of those here."""
            try:
                await there.say("room:create", name="One", members=["bob"])
            except Refused as refusal:
                assert refusal.code == "too_many_requests"
                return True
            return False

        taken = 0
        while not await refused():
            taken += 1
            await asyncio.sleep(2 * PUBLISH_EVERY)
        assert taken < 10, "the other node counted only its own"


async def test_the_lag_of_the_loop_is_measured_in_node_and_projector(database: Database) -> None:
    port = free_ports()
    async with (
        running(environment(database), "serve") as node,
        running(environment(database, ONRECORD_METRICS_PORT=str(port)), "project", "run"),
        answering(port) as projector,
    ):
        for address in (node.address, projector):
            await scraped_until(
                address, lambda numbers: number(numbers, "onrecord_loop_lag_seconds_count") > 1
            )


async def test_a_node_deletes_expired_refs_and_leases_by_itself(database: Database) -> None:
    owner = await asyncpg.connect(database.superuser_url)
    await owner.execute("""
        INSERT INTO refs (user_id, ref, fingerprint, stream, seq, recorded_at)
        SELECT 'alice', age, '', 'room:general', 1, now() - age::interval FROM unnest(ARRAY['8 days', '6 days']) age
    """)
    await owner.execute("""
        INSERT INTO incarnations (incarnation, node, started_at, renewed_at, unbroken_since, expires_at, ended_at)
        SELECT gen_random_uuid(), age, at, at, at, at, at
        FROM unnest(ARRAY['8 days', '6 days']) age, LATERAL (SELECT now() - age::interval AS at) ago
    """)
    left = """
        SELECT (SELECT array_agg(ref) FROM refs) = ARRAY['6 days']
            AND (SELECT array_agg(node) FROM incarnations WHERE ended_at IS NOT NULL) = ARRAY['6 days']
    """

    async def deleted() -> bool:
        return bool(await owner.fetchval(left))

    async with running(environment(database), "serve"):
        await until(deleted)
    await owner.close()
