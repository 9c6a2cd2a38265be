"""The metrics of two nodes and a projector under a workload equal what happened."""

import asyncio
import contextlib

import httpx
from websockets.exceptions import ConnectionClosed

from service.embedded import Servers
from service.observability.catalogue import CATALOGUE
from tests.support.clients.native import Refused, client, raw
from tests.support.environment import environment
from tests.support.http.metrics import answering, number, scraped, scraped_until
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.servers.ports import free_ports


async def converse(one: Process, other: Process) -> None:
    """Let two people talk over two nodes, with a refusal, a bad frame and a bad token."""
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        for say in range(10):
            await alice.post("general", f"number {say}")
        with contextlib.suppress(Refused):
            await alice.post("general", " ")
        await bob.until(lambda: len(bob.events("message:new")) == 10)
        async with raw(one.url) as stranger:
            await stranger.send('{"type":"connect","protocol":1,"token":"nonsense"}')
            with contextlib.suppress(ConnectionClosed):
                await stranger.recv()
        numbers = await scraped(one.address)
        assert number(numbers, "onrecord_connections", door="native") == 1
        assert number(numbers, "onrecord_connections", door="socketio") == 0


async def test_the_numbers_of_two_nodes_are_those_of_what_happened(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers) as (one, other):
        await scraped_until(one.address, lambda numbers: number(numbers, "onrecord_bus_up") == 1)
        await converse(one, other)
        closed = {"door": "native", "code": "1000"}
        numbers = await scraped_until(
            one.address, lambda numbers: number(numbers, "onrecord_closes_total", **closed) == 1
        )
        sent = {"type": "message:send"}
        assert number(numbers, "onrecord_ready") == 1
        assert number(numbers, "onrecord_build_info", version="0.1.0", node="one") == 1
        assert number(numbers, "onrecord_handshakes_total", door="native", outcome="ok") == 1
        assert number(numbers, "onrecord_handshakes_total", door="native", outcome="token_invalid") == 1
        assert number(numbers, "onrecord_closes_total", door="native", code="4500") == 1
        assert number(numbers, "onrecord_commands_total", outcome="ok", **sent) == 10
        assert number(numbers, "onrecord_commands_total", outcome="empty_message", **sent) == 1
        assert number(numbers, "onrecord_command_duration_seconds_count", **sent) == 11
        assert number(numbers, "onrecord_entries_total", outcome="appended") >= 11
        assert number(numbers, "onrecord_commit_events_sum") >= 11
        assert number(numbers, "onrecord_commits_total") == number(
            numbers, "onrecord_commit_duration_seconds_count"
        )
        # Ten messages, and who joined.
        assert number(numbers, "onrecord_deliveries_total") >= 10
        assert number(numbers, "onrecord_delivery_delay_seconds_count") >= 10
        assert number(numbers, "onrecord_bus_messages_total", direction="out") > 10
        assert 0 <= number(numbers, "onrecord_lease_age_seconds") < 10
        elsewhere = await scraped(other.address)
        assert number(elsewhere, "onrecord_bus_messages_total", direction="in") > 10
        assert number(elsewhere, "onrecord_deliveries_total") >= 10


async def test_node_reports_projection_lag_and_projector_its_work(
    database: Database,
) -> None:
    port = free_ports()
    messages = {"projection": "messages"}
    async with running(environment(database), "serve") as node:
        async with client(node.url, "alice") as alice:
            await alice.join("general")
            await alice.post("general", "hello")
        behind = await scraped_until(
            node.address,
            lambda numbers: number(numbers, "onrecord_projection_lag_events", **messages) > 0,
        )
        assert number(behind, "onrecord_projection_lag_seconds", **messages) > 0
        env = environment(database, ONRECORD_METRICS_PORT=str(port))
        async with running(env, "project", "run") as _, answering(port) as address:
            numbers = await scraped_until(
                address,
                lambda numbers: all(
                    (
                        number(numbers, "onrecord_sealed_events") > 0,
                        number(numbers, "onrecord_projector_events_total", **messages) > 0,
                    )
                ),
            )
            assert number(numbers, "onrecord_projector_leading", **messages) == 1
            assert number(numbers, "onrecord_projector_events_total", **messages) >= 1
            assert number(numbers, "onrecord_projector_batch_duration_seconds_count", **messages) >= 1
            await scraped_until(
                node.address,
                lambda numbers: number(numbers, "onrecord_projection_lag_events", **messages) == 0,
            )
        told = {name for name, _ in {**await scraped(node.address), **numbers}}
        missing = {
            name
            for name, metric in CATALOGUE.items()
            if not {name, f"{name}_count"} & told and metric.kind != "counter"
        }
        assert missing == set(), "the catalogue has what nobody says"


async def test_metrics_port_is_exclusive_and_each_worker_has_one(
    database: Database,
) -> None:
    port = free_ports(2)
    env = environment(database, ONRECORD_METRICS_PORT=str(port), ONRECORD_NODE="crew")
    async with running(env, "serve", "--workers", "2") as crew:
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{crew.address}/metrics")).status_code == 404
        for worker in (1, 2):
            async with answering(port + worker - 1) as address:
                numbers = await scraped(address)
                build = {"version": "0.1.0", "node": f"crew-{worker}"}
                assert number(numbers, "onrecord_build_info", **build) == 1


async def test_a_request_that_never_comes_is_cut_at_both_ports_and_counted(database: Database) -> None:
    port = free_ports()
    async with running(environment(database, ONRECORD_METRICS_PORT=str(port)), "serve") as node:
        aside = f"http://127.0.0.1:{port}"
        reason = "onrecord_requests_cut_total"
        assert number(await scraped(aside), reason, reason="overdue") == 0
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        host, own = node.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(own))
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000)
        async with asyncio.timeout(60):
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        writer.close()
        await scraped_until(aside, lambda numbers: number(numbers, reason, reason="oversized") == 1)
        assert number(await scraped(aside), reason, reason="overdue") == 1
