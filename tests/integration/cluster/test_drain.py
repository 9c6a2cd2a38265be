"""A node that gets SIGTERM: received commands are acknowledged, then every connection is closed with 4000."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from uuid import uuid4

import psycopg

from tests.support.clients.native import Client, client
from tests.support.environment import environment
from tests.support.processes.cluster import closings, sessions, still_open
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

APPEND_LOCK = 7236109


async def _sent(alice: Client, count: int) -> list[str]:
    refs = [str(uuid4()) for _ in range(count)]
    for ref in refs:
        frame = {"type": "message:send", "ref": ref, "roomId": "general", "content": f"in flight {ref}"}
        await alice.socket.send(json.dumps(frame))
    return refs


async def _until_said(node: Process, word: str) -> None:
    async with asyncio.timeout(60):
        while not any(word in line for line in node.words):
            await asyncio.sleep(0.01)


async def _recorded(database: Database) -> dict[str, int]:
    code, lines, words = await run(environment(database), "audit", "replay", "--room", "general")
    assert code == 0, words
    events = [json.loads(line) for line in lines.splitlines()]
    return {event["ref"]: event["seq"] for event in events if event["type"] == "MessagePosted"}


async def test_hundred_sends_in_flight_at_sigterm_are_acknowledged(
    database: Database,
) -> None:
    async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
        await alice.join("general")
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as owner:
            await owner.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])  # no commit gets through
            refs = await _sent(alice, 100)
            # The hundredth waits for a commit, so what is in the socket now was received by the node, too.
            await alice.socket.ping()
            await asyncio.sleep(0.5)
            node.process.send_signal(signal.SIGTERM)
            await _until_said(node, '"draining"')
            assert not alice.events("ack", ref=refs[0])
            await owner.execute("SELECT pg_advisory_unlock(%s)", [APPEND_LOCK])
        assert await alice.closed() == 4000
        assert await node.process.wait() == 0
        acked = {event["ref"]: event["seq"] for event in alice.heard if event["type"] == "ack"}
        recorded = await _recorded(database)
        assert recorded == {ref: acked[ref] for ref in refs if ref in acked}
        assert set(recorded) == set(refs)


async def test_a_drain_that_the_database_holds_up_ends_within_its_seconds(database: Database) -> None:
    env = environment(database, ONRECORD_DRAIN_SECONDS="1")
    async with running(env, "serve") as node, client(node.url, "alice") as alice:
        await alice.join("general")
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as owner:
            await owner.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])
            refs = await _sent(alice, 5)
            await asyncio.sleep(0.2)
            node.process.send_signal(signal.SIGTERM)
            assert await alice.closed() == 4000
            await _until_said(node, "drained_unanswered")
            assert not [event for event in alice.heard if event["type"] == "ack" and event["ref"] in refs]
        assert await node.process.wait() == 0


async def test_drain_closes_connections_with_4000_and_records_session_ends(
    database: Database,
) -> None:
    env = environment(database, ONRECORD_DRAIN_SECONDS="300")
    async with running(env, "serve") as node, AsyncExitStack() as stack:
        people = [await stack.enter_async_context(client(node.url, f"user-{n}")) for n in range(250)]
        node.process.send_signal(signal.SIGTERM)
        assert {await person.closed() for person in people} == {4000}
        assert await node.process.wait() == 0
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute("SELECT count(*) FROM open_sessions").fetchone()
    assert rows == (0,)


async def test_stopping_node_waits_until_session_ends_are_recorded(
    database: Database,
) -> None:
    env = environment(database, ONRECORD_DRAIN_SECONDS="300")
    async with running(env, "serve") as node, AsyncExitStack() as stack:
        people = [await stack.enter_async_context(client(node.url, f"user-{n}")) for n in range(5)]
        async with asyncio.timeout(60):
            await until(lambda: sum(len(sessions(database, person.user)) for person in people) == 5)
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as owner:
            await owner.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])  # no commit gets through
            node.process.send_signal(signal.SIGTERM)
            assert {await person.closed() for person in people} == {4000}
            await asyncio.sleep(2)  # longer than the server itself takes
            assert node.process.returncode is None, "it did not wait"
            await owner.execute("SELECT pg_advisory_unlock(%s)", [APPEND_LOCK])
        assert await node.process.wait() == 0
    assert still_open(database) == 0
    assert [closings(database, person.user).popitem()[1][0][0] for person in people] == ["shutting_down"] * 5
