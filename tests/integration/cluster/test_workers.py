"""Several nodes as one command: which worker serves which client, a worker killed under load, no process left."""

import asyncio
import base64
import os
import signal
from contextlib import AsyncExitStack, suppress
from functools import partial

import psutil
import pytest

from service.embedded import Servers
from tests.support.chat.senders import Address, Person, judge
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.cluster import sessions
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

pytestmark = pytest.mark.logs(*OUTAGE)


def _workers(parent: Process) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(parent.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # also if it has ended and was not waited for yet
            if "--worker" in child.cmdline():
                found.append(child)
    return found


def _replaced(parent: Process, dead: psutil.Process) -> bool:
    return len([worker for worker in _workers(parent) if worker != dead]) == 2


def _nodes(database: Database, users: list[str]) -> set[str]:
    return {event["node"] for user in users for event in sessions(database, user) if "node" in event}


@pytest.mark.parametrize("bus", [True, False], ids=["with Redis", "without Redis"])
async def test_workers_share_a_port_and_their_rooms(
    database: Database, servers: Servers, *, bus: bool
) -> None:
    settings = {"ONRECORD_NODE": "crew"}
    if bus:
        key = base64.b64encode(os.urandom(32)).decode()
        settings |= {"ONRECORD_REDIS_URL": servers.redis_url, "ONRECORD_BUS_KEY": key}
    users = [f"user-{number}" for number in range(40)]
    async with running(environment(database, **settings), "serve", "--workers", "2") as crew:
        async with AsyncExitStack() as stack:
            people = [await stack.enter_async_context(client(crew.url, user)) for user in users]
            for person in people:
                await person.join("general")
            for person in people:
                await person.post("general", f"{person.user} is here")
            last = (await people[0].post("general", "and that is all"))["seq"]
            for person in people:
                await person.until(partial(person.events, "message:new", seq=last))
            heard = [[event["seq"] for event in person.events("message:new")] for person in people]
            assert all(seqs == heard[0] for seqs in heard)
            assert len(heard[0]) == len(users) + 1
        # Each of forty connections falls to either worker: that all meet at one is as likely as 39 tosses alike.
        assert _nodes(database, users) == {"crew-1", "crew-2"}


@pytest.mark.logs("worker_ended")
async def test_a_worker_killed_under_load_is_replaced_and_loses_nothing(database: Database) -> None:
    async with running(environment(database), "serve", "--workers", "2") as crew:
        server = Address(crew.url)
        people = [Person(f"user-{number}", server, goal=1_000_000) for number in range(6)]
        living = [asyncio.create_task(person.live()) for person in people]
        for _ in range(2):
            goal = sum(len(person.acked) for person in people) + 100
            while sum(len(person.acked) for person in people) < goal:
                await asyncio.sleep(0.01)
            before = _workers(crew)
            before[0].kill()
            async with asyncio.timeout(60):
                await until(partial(_replaced, crew, before[0]))
        for person in people:
            person.goal = len(person.acked) + 20
        await asyncio.gather(*living)
        await judge(people, database, server)
    assert any('"worker_ended"' in line for line in crew.words)


async def test_no_worker_outlives_its_parent(database: Database) -> None:
    async with running(environment(database), "serve", "--workers", "2") as crew:
        workers = _workers(crew)
        assert len(workers) == 2
        async with client(crew.url, "alice") as alice:
            await crew.kill()
            assert await alice.closed() == 4000, "a worker that loses its parent ends in order"
        async with asyncio.timeout(60):
            await until(lambda: not any(worker.is_running() for worker in workers))


async def test_a_crew_told_to_stop_ends_in_order_and_says_ready_once(database: Database) -> None:
    async with (
        running(environment(database), "serve", "--workers", "3") as crew,
        client(crew.url, "a") as one,
    ):
        await one.join("general")
        workers = _workers(crew)
        crew.process.send_signal(signal.SIGTERM)
        assert await one.closed() == 4000
        assert await crew.process.wait() == 0
        assert not any(worker.is_running() for worker in workers)
        assert crew.process.stdout is not None
        assert await crew.process.stdout.read() == b"", "one ready line, whatever the number of workers"


async def test_a_crew_that_cannot_run_as_things_are_set_ends_with_2(database: Database) -> None:
    empty = database.superuser_url.rsplit("/", 1)[0] + "/postgres"
    env = environment(database, ONRECORD_DATABASE_URL=empty)
    code, out, words = await run(env, "serve", "--workers", "2")
    assert (code, out) == (2, "")
    assert "onrecord migrate" in words


async def test_a_crew_that_the_database_turns_away_ends_like_one_node(database: Database) -> None:
    url = "postgresql://nobody:nothing@" + database.app_url.split("@")[1]
    env = environment(database, ONRECORD_DATABASE_URL=url)
    alone = await run(env, "serve")
    crew = await run(env, "serve", "--workers", "2")
    assert (alone[0], crew[0]) == (3, 3), crew[2]
    assert "Traceback" not in alone[2] + crew[2]


@pytest.mark.parametrize("number", ["0", "-1", "65", "two", "1.5"])
async def test_a_number_of_workers_that_cannot_be_is_wrong_usage(database: Database, number: str) -> None:
    code, out, words = await run(environment(database), "serve", "--workers", number)
    assert (code, out) == (2, "")
    assert "workers" in words
