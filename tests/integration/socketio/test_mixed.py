"""Rooms of stock clients and native ones, over two nodes, through upgrades, losses and restarts."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.embedded import Servers
from tests.support.clients.native import PATIENCE, Client, Refused, client
from tests.support.clients.socketio import MODULES, Driver, Stock
from tests.support.environment import ROOT, environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

pytestmark = pytest.mark.needs("node", "npm")

TALK = ROOT / "examples" / "socketio"


def said(one: Stock | Client, room: str = "general") -> list[dict[str, Any]]:
    """Return a room's events as one client heard them, without what only their author is shown."""
    heard = (event for event in one.heard if event.get("roomId") == room and "seq" in event)
    return [{name: value for name, value in event.items() if name != "ref"} for event in heard]


async def test_everybody_on_two_nodes_hears_the_same_whatever_they_speak(
    database: Database, servers: Servers, newest: Driver
) -> None:
    async with two_nodes(database, servers) as (one, other), AsyncExitStack() as stack:
        people: list[Stock | Client] = []
        for index, node in enumerate((one, other)):
            people.append(await stack.enter_async_context(client(node.url, f"native{index}")))
            people.append(await newest.open(node.address, f"socket{index}", transports=["websocket"]))
            people.append(await newest.open(node.address, f"polling{index}", transports=["polling"]))
            people.append(await newest.open(node.address, f"upgraded{index}"))
        for person in people:
            await person.join("general")
            await person.until(lambda person=person: person.seqs("general"))  # type: ignore[misc]
        begin = max(person.seqs("general")[-1] for person in people)

        async def talk(person: Stock | Client, name: int) -> None:
            for number in range(25):
                await person.say("message:send", roomId="general", content=f"{name}: {number}")

        await asyncio.gather(*(talk(person, name) for name, person in enumerate(people)))
        last = begin + 25 * len(people)
        for person in people:
            await person.until(lambda person=person: person.seqs("general")[-1] == last)  # type: ignore[misc]
        wanted = [event for event in said(people[0]) if event["seq"] > begin]
        assert [event["seq"] for event in wanted] == list(range(begin + 1, last + 1))
        for person in people:
            assert [event for event in said(person) if event["seq"] > begin] == wanted


async def test_nothing_is_lost_doubled_or_reordered_while_a_connection_upgrades(
    node: Process, stock: Driver
) -> None:
    async with client(node.url, "bob") as bob:
        await bob.join("general")
        alice = await stock.open(node.address, "alice", wait=False)
        refs = [f"r-{number}" for number in range(400)]
        await alice.emit("room:join", {"roomId": "general"}, ack=False)
        for ref in refs:
            await alice.emit("message:send", {"roomId": "general", "content": ref, "ref": ref}, ack=False)
        await bob.until(lambda: bob.events("room:user_joined", userId="alice"))
        for number in range(400):
            await bob.post("general", f"b-{number}")
        await alice.until(lambda: len(alice.events("message:new", userId="alice")) == 400)
        await alice.until(lambda: len(alice.events("message:new", userId="bob")) == 400)
        assert [event["ref"] for event in alice.events("message:new", userId="alice")] == refs
        assert await alice.transport() == "websocket"
        assert not alice.was("disconnect")
        await bob.until(lambda: len(bob.events("message:new")) == 800)
        heard = alice.seqs("general")
        assert heard == list(range(heard[0], heard[0] + len(heard)))


@pytest.mark.parametrize("options", [{"ackTimeout": 10_000}, {}], ids=["with_timeout", "without"])
async def test_retries_of_the_client_make_one_message(
    node: Process, newest: Driver, options: dict[str, Any]
) -> None:
    alice = await newest.open(node.address, "alice", retries=3, **options)
    async with client(node.url, "bob") as bob:
        await bob.join("general")
        await alice.emit("room:join", {"roomId": "general", "ref": "join"}, ack=False)
        await bob.until(lambda: bob.events("room:user_joined", userId="alice"))
        for number in range(3):
            await alice.emit(
                "message:send", {"roomId": "general", "content": "once", "ref": f"m-{number}"}, ack=False
            )
        await alice.until(lambda: len(alice.events("message:new")) == 3)
        await alice.emit("typing:start", {"roomId": "general"}, ack=False)
        await bob.until(lambda: bob.events("typing:start"))  # sent one after the other: all retries are over
        assert len(bob.events("message:new")) == 3


async def test_a_retry_through_the_other_door_has_one_effect_and_the_same_ack(
    node: Process, newest: Driver
) -> None:
    alice = await newest.open(node.address, "alice")
    async with client(node.url, "alice") as native, client(node.url, "bob") as bob:
        for one in (alice, native, bob):
            await one.join("general")
        wish = {"roomId": "general", "content": "once", "ref": "through-both"}
        first, second = await asyncio.gather(
            alice.say("message:send", **wish), native.say("message:send", **wish)
        )
        again = await alice.say("message:send", **wish)
        for name in ("seq", "messageId", "at"):
            assert first[name] == second[name] == again[name]
        with pytest.raises(Refused) as refused:
            await native.say("message:send", **{**wish, "content": "twice"})
        assert refused.value.code == "ref_conflict"
        await native.post("general", "the last")
        await bob.until(lambda: bob.events("message:new", content="the last"))
        assert len(bob.events("message:new", content="once")) == 1


async def test_stock_client_recovers_on_another_node_and_after_restart(
    database: Database, servers: Servers, newest: Driver
) -> None:
    async with two_nodes(database, servers) as (one, other), client(one.url, "bob") as bob:
        await bob.join("general")
        alice = await newest.open(other.address, "alice")
        await alice.join("general")
        await alice.until(lambda: alice.seqs("general"))
        await alice.leave()
        for number in range(5):
            await bob.post("general", f"{number}")
        cursor = alice.seqs("general")[-1]
        epoch = alice.events("connected")[0]["epoch"]
        auth = {"rooms": {"general": cursor}, "epoch": epoch}
        again = await newest.open(one.address, "alice", auth=auth, transports=["polling"])
        head = again.events("connected")[0]["rooms"]["general"]
        assert head == {"recovered": True, "head": cursor + 5}
        await again.until(lambda: again.seqs("general") == list(range(cursor + 1, cursor + 6)))
    async with running(environment(database), "serve") as node:
        late = await newest.open(node.address, "alice", auth=auth)
        await late.until(lambda: late.seqs("general") == list(range(cursor + 1, cursor + 6)))
        lost = await newest.open(node.address, "alice", auth={"rooms": {"general": 1}, "epoch": "another"})
        assert lost.events("connected")[0]["rooms"]["general"]["reason"] == "epoch_changed"


async def test_connection_state_recovery_is_opt_in_and_survives_restart(
    database: Database, newest: Driver
) -> None:
    env = environment(database)
    async with running(env, "serve") as node, client(node.url, "bob") as bob:
        await bob.join("general")
        asking = await newest.open(node.address, "alice", auth={"recovery": True})
        await asking.join("general")
        await bob.post("general", "heard by all")
        await asking.until(lambda: asking.events("message:new"))
        assert all(isinstance(arguments[1], str) for arguments in asking.arguments)
        await asking.cut()
        await asking.reached("connect", 2)
        assert asking.was("connect")[1]["recovered"] is True
        await bob.post("general", "after the cut")
        await asking.until(lambda: asking.events("message:new", content="after the cut"))
        port = node.address.rsplit(":", 1)[1]
    async with running(env | {"ONRECORD_PORT": port}, "serve") as node, client(node.url, "bob") as bob:
        await asking.reached("connect", 3)
        assert asking.was("connect")[2]["recovered"] is True
        await bob.say("message:send", roomId="general", content="after the restart")
        await asking.until(lambda: asking.events("message:new", content="after the restart"))
        heard = asking.seqs("general")
        assert heard == list(range(heard[0], heard[0] + len(heard)))
        forged = await newest.open(
            node.address, "mallory", auth={"recovery": True, "pid": "p", "offset": "e general:0"}
        )
        assert forged.events("connected")[0]["rooms"]["general"]["recovered"] is False
        assert not forged.seqs("general")


async def test_a_polling_session_on_the_wrong_node_is_refused_at_once(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers) as (one, other), httpx.AsyncClient(timeout=PATIENCE) as http:
        query = {"EIO": "4", "transport": "polling"}
        opened = await http.get(f"{one.address}/socket.io/", params=query)
        query["sid"] = json.loads(opened.text[1:])["sid"]
        for method in ("GET", "POST"):
            answer = await http.request(method, f"{other.address}/socket.io/", params=query, content="40")
            assert (answer.status_code, answer.json()) == (400, {"code": 1, "message": "Session ID unknown"})


@pytest.mark.usefixtures("newest")
async def test_the_example_loses_nothing_through_a_restart(database: Database, tmp_path: Path) -> None:
    for script in TALK.iterdir():
        (tmp_path / script.name).write_text(script.read_text())
    (tmp_path / "node_modules").mkdir()
    for module in (MODULES / "node_modules").iterdir():
        name = "socket.io-client" if module.name == "client-newest" else module.name
        (tmp_path / "node_modules" / name).symlink_to(module)
    env = environment(database)
    async with running(env, "serve") as node:
        port = node.address.rsplit(":", 1)[1]
        talk = await asyncio.create_subprocess_exec(
            "node", str(tmp_path / "talk.mjs"), node.address, "general",
            env=os.environ | {"TOKEN": token("robin", name="Robin")},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=sys.stderr,
        )  # fmt: skip
        assert talk.stdin is not None
        assert talk.stdout is not None
        lines = talk.stdout
        assert await lines.readline() == b"(in general)\n"
        talk.stdin.write(b"first\n")
        assert (await lines.readline()).endswith(b" Robin: first\n")
    assert (await lines.readline()).startswith(b"(away: ")
    talk.stdin.write(b"said while away\n")
    async with running(env | {"ONRECORD_PORT": port}, "serve") as node, client(node.url, "bob") as bob:
        await bob.join("general")
        await bob.post("general", "welcome back")
        heard: list[bytes] = []
        while len(heard) < 2:
            line = await lines.readline()
            if not line.startswith(b"("):  # in words: that a try to come back was too early
                heard.append(line.split(b": ")[1])
        assert sorted(heard) == [b"said while away\n", b"welcome back\n"]
        talk.stdin.close()
        assert await talk.wait() == 0
