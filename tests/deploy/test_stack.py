"""docker-compose.yml as it stands, as plain processes behind the same load balancer: people chat, and nodes restart."""

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidHandshake

from tests.support.chat.senders import Address, Person, judge
from tests.support.clients.native import Client, client
from tests.support.clients.python_socketio import Python
from tests.support.deploy.stack import Stack, stack
from tests.support.environment import token
from tests.support.processes.failures import OUTAGE

pytestmark = [pytest.mark.needs("haproxy", "openssl"), pytest.mark.timeout(240), pytest.mark.logs(*OUTAGE)]


def native(running: Stack) -> str:
    return running.url.replace("http", "ws", 1) + "/ws"


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as asking:
        return await asking.get(url)


async def connections(running: Stack, name: str) -> int:
    """Return how many connections a node has."""
    told = await get(f"http://{running.addresses[f'{name}:8000']}/readyz")
    return int(told.json()["connections"])


async def python(url: str, user: str, transports: list[str]) -> Python:
    made = Python()
    await asyncio.to_thread(
        made.io.connect, url, auth={"token": token(user)}, transports=transports, wait_timeout=30
    )
    await made.until("connected", userId=user)
    return made


async def test_people_at_both_doors_chat_through_the_balancer_over_two_nodes(place: Path) -> None:
    async with stack(place) as running, client(native(running), "alice") as alice:
        await alice.join("general")
        others = [
            await python(running.url, f"py-{number}", transports)
            for number, transports in enumerate((["polling"], ["websocket"], ["polling", "websocket"]))
        ]
        async with client(native(running), "bob") as bob:
            await bob.join("general")
            assert min([await connections(running, name) for name in ("node1", "node2")]) > 0
            for other in others:
                assert (await asyncio.to_thread(other.call, "room:join", {"roomId": "general"}))["ok"] is True
            ack = await bob.post("general", "Hello, everybody")
            await alice.until(lambda: alice.events("message:new", seq=ack["seq"], content="Hello, everybody"))
            for number, other in enumerate(others):
                await other.until("message:new", seq=ack["seq"], userId="bob")
                said = {"roomId": "general", "content": f"Hello from {number}"}
                assert (await asyncio.to_thread(other.call, "message:send", said))["ok"] is True
            await bob.until(lambda: {f"Hello from {number}" for number in range(3)} <= said_in(bob.heard))
        for other in others:
            await asyncio.to_thread(other.io.disconnect)
        for path in ("/metrics", "/%6Detrics", "/%6d%65trics", "/metric%73", "/metrics?x=1", "/%2Fmetrics"):
            answer = await get(f"{running.url}{path}")
            assert answer.status_code in (403, 404), path
            assert "onrecord_" not in answer.text
        assert (await get(running.url)).status_code == 200
        code, found = await running.run("doctor")
        assert code == 0, found
        assert "Nodes with a lease: 2 (node1, node2)." in found


async def test_profiles_add_a_demo_and_an_analysts_access(place: Path) -> None:
    async with stack(place) as running:
        await running.start("demo")
        address = running.addresses["demo:8000"]
        assert "This is a demo" in (await get(f"http://{address}")).text
        assert "This is a demo" not in (await get(running.url)).text
        async with httpx.AsyncClient() as asking:
            answer = await asking.post(f"http://{address}/dev/token", json={"userId": "ann", "name": "Ann"})
        brought = answer.json()["token"]
        async with (
            client(f"ws://{address}/ws", "ann", token=brought) as ann,
            client(native(running), "bob") as bob,
        ):
            for person in (ann, bob):
                await person.join("general")
            ack = await ann.post("general", "Hello from the demo")
            await bob.until(lambda: bob.events("message:new", seq=ack["seq"]))
        assert await running.run("analyst") == (0, "")
        assert await running.run("analyst") == (0, "")
        await running.start("analytics")
        password, port = (
            running.variables["ANALYST_PASSWORD"],
            running.addresses["0.0.0.0:5432"].split(":")[1],
        )
        url = f"postgresql://analyst:{password}@127.0.0.1:{port}/onrecord"
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as analyst:
            while (await (await analyst.execute("SELECT content FROM messages")).fetchall()) != [
                ("Hello from the demo",)
            ]:
                await asyncio.sleep(0.1)
            await analyst.execute("SET default_transaction_read_only = off")
            for statement in (
                "SELECT FROM public.stored_events",
                "SELECT FROM public.person_keys",
                "DELETE FROM read_models.messages_v2",
                "CREATE TABLE analytics.mine ()",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await analyst.execute(statement)


def said_in(heard: list[dict[str, str]]) -> set[str]:
    return {event["content"] for event in heard if event["type"] == "message:new"}


@dataclass
class Customer(Person):
    """A person whose connection is cut again and again, and who remembers each time that the door was not opened."""

    refused: list[str] = field(default_factory=list)
    connection: Client | None = None

    async def _one_connection(self) -> None:
        try:
            await super()._one_connection()
        except (InvalidHandshake, ConnectionRefusedError) as error:
            self.refused.append(repr(error))
            raise

    def _hear_from(self, connection: Client) -> None:
        self.connection = connection
        super()._hear_from(connection)


async def cut_one_after_the_other(people: list[Customer]) -> None:
    for person in itertools.cycle(people):
        await asyncio.sleep(0.2)
        if person.connection is not None:
            person.connection.cut()


async def test_rolling_restart_under_load_loses_no_message(place: Path) -> None:
    async with stack(place) as running:
        server = Address(native(running))
        people = [Customer(f"user-{number}", server, 10**6, pace=0.08) for number in range(8)]
        living = [asyncio.create_task(person.live()) for person in people]

        async def acked_more(count: int) -> None:
            goal = sum(len(person.acked) for person in people) + count
            while sum(len(person.acked) for person in people) < goal:
                await asyncio.sleep(0.02)

        await acked_more(100)
        while not all(
            seqs for person in people for seqs in person.heard.values()
        ):  # they have cursors by then
            await asyncio.sleep(0.05)
        cutting = asyncio.create_task(cut_one_after_the_other(people))
        for name in ("node1", "node2"):
            assert await running.stop(name) == 0
            await acked_more(100)
            await running.start(name)
            while not await connections(running, name):  # the balancer has taken it in again
                await asyncio.sleep(0.05)
            await acked_more(100)
        for person in people:
            person.goal = 0
        await asyncio.gather(*living)
        cutting.cancel()
        assert min(person.lives for person in people) > 2
        assert [refusal for person in people for refusal in person.refused] == []
        await judge(list(people), running.database, server)
