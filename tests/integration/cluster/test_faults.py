"""What breaks: connections cut after a send left, the server killed under load, backends terminated. Then we count.

Nothing acknowledged is lost, nothing is there twice, no seq is missing, and every cursor resumes.
"""

import asyncio
import json

import psycopg
import pytest

from projections import PROJECTIONS
from tests.support.chat.senders import Address, Person, judge
from tests.support.environment import environment
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database

pytestmark = pytest.mark.logs(*OUTAGE)


async def test_connections_cut_after_a_send_lose_and_double_nothing(database: Database) -> None:
    async with running(environment(database), "serve") as node:
        server = Address(node.url)
        people = [Person(f"user-{number}", server, goal=60, cut_every=5) for number in range(6)]
        async with asyncio.TaskGroup() as living:
            for person in people:
                living.create_task(person.live())
        assert all(person.lives > 5 for person in people)
        await judge(people, database, server)


async def test_a_server_killed_under_load_and_started_again_loses_nothing(database: Database) -> None:
    env = environment(database)
    server = Address("")
    people = [Person(f"user-{number}", server, goal=150) for number in range(6)]
    living: list[asyncio.Task[None]] = []
    for round_number in range(4):
        async with running(env, "serve") as node:
            server.url = node.url
            living = living or [asyncio.create_task(person.live()) for person in people]
            if round_number < 3:
                goal = sum(len(person.acked) for person in people) + 100
                while sum(len(person.acked) for person in people) < goal:
                    await asyncio.sleep(0.01)
                await node.kill()
                continue
            await asyncio.gather(*living)
            assert all(person.lives > 3 for person in people)
            await judge(people, database, server)


async def test_backends_terminated_in_the_middle_of_transactions_lose_nothing(database: Database) -> None:
    async with running(environment(database), "serve") as node:
        server = Address(node.url)
        people = [Person(f"user-{number}", server, goal=150) for number in range(6)]
        living = [asyncio.create_task(person.live()) for person in people]
        terminated = 0
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as owner:
            while not all(task.done() for task in living):
                terminated += await _terminate_all(owner)
                await _acked_more(people, living)
        await asyncio.gather(*living)
        assert terminated > 10
        await judge(people, database, server)


async def _acked_more(people: list[Person], living: list[asyncio.Task[None]]) -> None:
    """Wait for another answer: backends that end faster than they reconnect would answer no command."""
    before = sum(len(person.acked) for person in people)
    await asyncio.sleep(0.1)
    while sum(len(person.acked) for person in people) == before and not all(task.done() for task in living):
        await asyncio.sleep(0.01)


async def _terminate_all(owner: "psycopg.AsyncConnection") -> int:
    """End every backend of the application, also those that wait for the append lock, held here for a moment."""
    await owner.execute("SELECT pg_advisory_lock(7236109)")
    await asyncio.sleep(0.01)
    found = await owner.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE usename <> current_user AND datname = current_database()"
    )
    count = (await found.fetchone() or (0,))[0]
    await owner.execute("SELECT pg_advisory_unlock(7236109)")
    return int(count)


async def test_a_projector_killed_again_and_again_ends_equal_to_a_rebuild(database: Database) -> None:
    env = environment(database)
    async with running(env, "serve") as node:
        server = Address(node.url)
        people = [Person(f"user-{number}", server, goal=100) for number in range(4)]
        living = [asyncio.create_task(person.live()) for person in people]
        while not all(task.done() for task in living):
            async with running(env, "project", "run") as projector:
                await asyncio.sleep(0.7)
                await projector.kill()
        await asyncio.gather(*living)
        async with running(env, "project", "run"):
            await _until_projected(env)
            code, lines, words = await run(env, "project", "verify")
        assert code == 0, lines + words
        assert [json.loads(line)["equal"] for line in lines.splitlines()] == [True] * len(PROJECTIONS)


async def _until_projected(env: dict[str, str]) -> None:
    while True:
        _, lines, _ = await run(env, "project", "status")
        if all(json.loads(line)["behind"] == 0 for line in lines.splitlines()):
            return
        await asyncio.sleep(0.1)
