"""OnRecord behind a real PgBouncer, in session mode and in transaction mode."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import socketio

from projections import PROJECTIONS
from service.embedded import Servers
from service.eventstore.connections import Connector, is_shared
from tests.support.chat.senders import Address, Person, judge
from tests.support.clients.native import client
from tests.support.clients.python_socketio import Python
from tests.support.environment import environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.failures import OUTAGE
from tests.support.processes.poolers import Pooler, pooler
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database, fresh_database

pytestmark = pytest.mark.needs("pgbouncer")

MODES = ("session", "transaction", "transaction without a session")


class Behind:
    """A pooler in one of `MODES`, and the settings of processes behind it."""

    def __init__(self, mode: str, pooler: Pooler, direct: Database) -> None:
        self.mode = mode
        self.pooler = pooler
        self.direct = direct
        self.settings: dict[str, str] = {}
        self.database = pooler.database
        if mode == "transaction":
            self.database = replace(direct, app_url=pooler.database.app_url)
            self.settings = {"ONRECORD_DATABASE_SESSION_URL": direct.app_url}

    def environment(self, **settings: str) -> dict[str, str]:
        return environment(self.database, **self.settings, **settings)


@pytest.fixture(params=MODES)
def behind(request: pytest.FixtureRequest, database: Database, place: Path) -> Iterator[Behind]:
    mode = str(request.param)
    with pooler(database, mode.split(maxsplit=1)[0], place) as running_pooler:
        yield Behind(mode, running_pooler, database)


@pytest.fixture
def transaction(database: Database, place: Path) -> Iterator[Pooler]:
    with pooler(database, "transaction", place) as made:
        yield made


@pytest.mark.logs(*OUTAGE)
async def test_a_pooler_killed_under_load_loses_and_doubles_nothing(behind: Behind, servers: Servers) -> None:
    async with (
        two_nodes(behind.database, servers, **behind.settings) as (one, other),
        running(behind.environment(), "project", "run"),
        running(behind.environment(), "project", "run"),
    ):
        addresses = [Address(node.url) for node in (one, other)]
        people = [Person(f"user-{number}", addresses[number % 2], goal=60) for number in range(6)]
        living = [asyncio.create_task(person.live()) for person in people]
        talking = asyncio.create_task(_talk(other, goal=30))
        for _ in range(2):
            await _acked_more(people, 60)
            behind.pooler.kill()
            await asyncio.sleep(0.1)
            behind.pooler.start()
        await asyncio.gather(*living)
        acked = await talking
        await judge(people, behind.database, addresses[0])
        assert await _recorded(behind, "lobby") == acked
        await _until_projected(behind)
        code, lines, words = await run(behind.environment(), "project", "verify")
        assert code == 0, words
        assert [json.loads(line)["equal"] for line in lines.splitlines()] == [True] * len(PROJECTIONS)
        await _until_sealed(behind)
        assert _left_behind(behind.direct) == 0


async def _talk(node: Process, goal: int) -> dict[str, int]:
    """Post over Socket.IO, retrying each message until it is acknowledged; return the seqs by ref."""
    python = Python()
    await _connected(python, node)
    await python.until("connected", userId="py")
    await _until_ok(python, "room:join", {"roomId": "lobby"})
    acked: dict[str, int] = {}
    for number in range(goal):
        ref = str(uuid4())
        sent = {"roomId": "lobby", "content": f"message {number}", "ref": ref}
        acked[ref] = (await _until_ok(python, "message:send", sent))["seq"]
    await python.until("message:new", seq=max(acked.values()))
    seqs = [event["seq"] for name, event in python.heard if name == "message:new"]
    assert seqs == sorted(acked.values()), "delivered once each, in order"
    await asyncio.to_thread(python.io.disconnect)
    return acked


async def _connected(python: Python, node: Process) -> None:
    while not python.io.connected:
        with suppress(socketio.exceptions.ConnectionError):  # the node is not ready yet, or not now
            await asyncio.to_thread(
                python.io.connect, node.address, auth={"token": token("py")}, wait_timeout=30
            )


async def _until_ok(python: Python, name: str, payload: dict[str, Any]) -> dict[str, Any]:
    while not (answer := await asyncio.to_thread(python.call, name, payload))["ok"]:
        assert answer["error"]["retryable"], answer
        await asyncio.sleep(0.05)
    return answer


async def _acked_more(people: list[Person], count: int) -> None:
    goal = min(sum(len(person.acked) for person in people) + count, sum(person.goal for person in people))
    while sum(len(person.acked) for person in people) < goal:
        await asyncio.sleep(0.01)


async def _recorded(behind: Behind, room: str) -> dict[str, int]:
    """Return the seqs of a room's messages by ref."""
    code, lines, words = await run(behind.environment(), "audit", "replay", "--room", room)
    assert code == 0, words
    posted = [event for event in map(json.loads, lines.splitlines()) if event["type"] == "MessagePosted"]
    assert len({event["ref"] for event in posted}) == len(posted), "a message is on the record twice"
    return {event["ref"]: event["seq"] for event in posted}


def _left_behind(database: Database) -> int:
    """Return the number of transactions that are open and idle."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
    with psycopg.connect(database.superuser_url) as connection:
        return int((connection.execute(query).fetchone() or (0,))[0])


async def _until_sealed(behind: Behind) -> None:
    """Wait until the whole log is sealed, and verify it against its seals."""
    while True:
        code, lines, words = await run(behind.environment(), "audit", "verify")
        assert code == 0, lines + words
        if "not sealed yet" not in words:
            return
        await asyncio.sleep(0.1)


async def _until_projected(behind: Behind) -> None:
    while True:
        _, lines, _ = await run(behind.environment(), "project", "status")
        if all(json.loads(line)["behind"] == 0 for line in lines.splitlines()):
            return
        await asyncio.sleep(0.1)


COMMANDS = (
    ("migrate",),
    ("doctor",),
    ("keys", "status"),
    ("project", "verify"),
    ("audit", "verify", "--words"),
    ("audit", "replay", "--room", "general"),
    ("audit", "erase", "--person", "ann", "--ground", "request"),
)


async def test_every_command_works_behind_a_pooler(behind: Behind) -> None:
    env = behind.environment()
    async with running(env, "serve") as node, running(env, "project", "run"):
        async with client(node.url, "ann") as ann:
            await ann.join("general")
            await ann.post("general", "hello")
        await _until_projected(behind)
        await _until_sealed(behind)
        is_alone = behind.mode == "transaction without a session"
        for command in COMMANDS:
            code, lines, words = await run(env, *command)
            refused = is_alone and command == ("migrate",)
            assert code == (2 if refused else 0), (command, lines, words)
            if refused:
                assert words == (
                    "ONRECORD_MIGRATE_DATABASE_URL leads to a pooler in transaction mode, and a session of PostgreSQL "
                    "is needed: set it to the address of PostgreSQL itself, or of a pooler in session mode.\n"
                )
            if command == ("doctor",):
                assert WORDS[behind.mode] in lines
                assert ("NOTIFY arrives" in lines) == (not is_alone)
        off = [line for line in node.words if "notify_off" in line]
        assert len(off) == is_alone
    assert await _named_statements(behind) == []


WORDS = {
    "session": "ok    pooler        A pooler in session mode is between: its pool needs ",
    "transaction": "A pooler in transaction mode is between, and what needs a session connects to 127.0.0.1:",
    "transaction without a session": (
        "warn  pooler        A pooler in transaction mode is between: nodes and projectors read the log every 1 s; "
        "set ONRECORD_DATABASE_SESSION_URL to the address of PostgreSQL itself, or of a pooler in session mode."
    ),
}


async def _named_statements(behind: Behind) -> list[str]:
    """Return the prepared statements that server processes of the pool have kept; a few processes are looked at."""
    connections = [await Connector(behind.pooler.database.app_url, 20).connect() for _ in range(5)]
    found: list[str] = []
    for connection in connections:
        await connection.execute("BEGIN")
    for connection in connections:
        if is_shared(connection):
            found += [
                row["name"] for row in await connection.fetch("SELECT name FROM pg_prepared_statements")
            ]
        connection.terminate()
    return found


async def test_sessions_that_are_shared_too_are_refused_at_the_start(
    transaction: Pooler, database: Database
) -> None:
    url = transaction.database.app_url
    env = environment(
        database,
        ONRECORD_DATABASE_URL=url,
        ONRECORD_DATABASE_SESSION_URL=f"{url}?",
        ONRECORD_DATABASE_TIMEOUT="1",
    )
    code, _, words = await run(env, "serve")
    assert code == 2
    assert words.startswith(
        "ONRECORD_DATABASE_SESSION_URL leads to a pooler in transaction mode, and a session "
    )
    assert len(words.splitlines()) == 1
    code, lines, _ = await run(env, "doctor")
    assert code == 2
    assert "fail  pooler        ONRECORD_DATABASE_SESSION_URL leads to a pooler in transaction mode" in lines


async def test_a_session_address_of_another_log_is_found(
    transaction: Pooler, database: Database, servers: Servers
) -> None:
    url = transaction.database.app_url
    with fresh_database(servers) as other:
        with psycopg.connect(other.superuser_url) as connection:
            connection.execute("UPDATE log_epoch SET epoch = gen_random_uuid()")
        env = environment(
            database,
            ONRECORD_DATABASE_URL=url,
            ONRECORD_DATABASE_SESSION_URL=other.app_url,
            ONRECORD_DATABASE_TIMEOUT="1",
        )
        code, lines, _ = await run(env, "doctor")
    assert code == 2
    assert "ONRECORD_DATABASE_SESSION_URL leads to another log than ONRECORD_DATABASE_URL" in lines
