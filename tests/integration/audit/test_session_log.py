"""Sessions on the record: who was connected, why it ended and what was written, also if the node is killed."""

import asyncio
import json
import signal
import time

import pytest

from service.embedded import Servers
from service.protocol.close_codes import Close
from tests.support.clients.native import client, raw
from tests.support.docs.examples import CLOSED
from tests.support.environment import environment, token
from tests.support.processes.cluster import closings, sessions, still_open, two_nodes
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

pytestmark = pytest.mark.logs(*OUTAGE)

NODE_LOST = [("node_lost", None)]


async def closed(database: Database, user: str, count: int = 1) -> list[tuple[str, object]]:
    """Wait until so many sessions of a user are closed on the record; return why, and what was written."""

    def all_closed() -> bool:
        return sum(map(len, closings(database, user).values())) >= count

    async with asyncio.timeout(60):
        await until(all_closed)
    return [one for found in closings(database, user).values() for one in found]


async def test_a_session_is_on_the_record_with_what_was_written_to_it(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for number in range(5):
            await alice.post("general", f"message {number}")
        async with client(node.url, "bob", {"general": None}) as stranger:
            assert not stranger.connected["rooms"]["general"]["recovered"]
        async with client(node.url, "bob") as bob:
            await bob.join("general")
            await alice.post("general", "heard")
            last = await bob.say("room:leave", roomId="general")
            await bob.until(lambda: bob.events("room:user_left", seq=last["seq"]))
            missed = await alice.post("general", "not heard")
            again = await bob.say("room:join", roomId="general", after=missed["seq"])
            await bob.until(lambda: bob.events("room:user_joined", seq=again["seq"]))
            await bob.post("general", "bye")
            end = (await alice.post("general", "heard to the end"))["seq"]
            await bob.until(lambda: bob.events("message:new", seq=end))
        found = await closed(database, "bob", 2)
        await until(lambda: still_open(database) == 1)
    assert found[0] == ("client", {})
    # The history of the join reaches back to the first message, and the second join's to the one that was missed.
    assert found[1] == ("client", {"general": [[3, end]]})
    opened, over = sessions(database, "bob")[2:]
    assert opened["session"] == over["session"] == bob.connected["session"]
    assert (opened["address"], over["code"]) == ("127.0.0.1", 1000)
    assert set(opened["client"]) == {"k", "h", "c"}, "what a client says of itself is sealed"


async def test_what_was_heard_live_before_and_after_an_absence_are_two_stretches(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with client(node.url, "bob") as bob:
            await bob.join("general")
        await closed(database, "bob")
        for number in range(3):
            await alice.post("general", f"not heard {number}")
        async with client(node.url, "bob", {"general": None}) as bob:
            last = (await alice.post("general", "heard"))["seq"]
            await bob.until(lambda: bob.events("message:new", seq=last))
        found = await closed(database, "bob", 2)
        assert found[1] == ("client", {"general": [[last, last]]})
        async with client(node.url, "bob", {"general": 3}) as bob:
            await bob.until(lambda: bob.events("message:new", seq=last))
        found = await closed(database, "bob", 3)
        assert found[2] == ("client", {"general": [[4, last]]})


async def test_the_record_says_why_a_session_ended(database: Database) -> None:
    env = environment(
        database,
        ONRECORD_PING_INTERVAL="0.3",
        ONRECORD_PING_TIMEOUT="0.3",
        ONRECORD_MAX_FRAME="2000",
    )
    async with running(env, "serve") as node:
        for user, text in (("malformed", "not JSON"), ("large", "x" * 3_000)):
            async with client(node.url, user) as one:
                await one.socket.send(text)
                await one.closed()
        async with client(node.url, "lost") as lost:
            lost.cut()
            await lost.closed()
        async with raw(node.url) as silent:
            connect = {"type": "connect", "protocol": 1, "token": token("silent")}
            await silent.send(json.dumps(connect))
            await silent.recv()
            silent.transport.pause_reading()
            assert (await closed(database, "silent"))[0][0] == "no_pong"
        async with raw(node.url) as brief:
            connect["token"] = token("brief", expires=int(time.time()) - 4)
            await brief.send(json.dumps(connect))
            assert (await closed(database, "brief"))[0][0] == "token_expired"
        async with client(node.url, "stopped") as stopped:
            await until(lambda: closings(database, "stopped"))
            await node.stop()
            assert await stopped.closed() == 4000
    reasons = {
        user: [reason for reason, _ in await closed(database, user)]
        for user in ("malformed", "large", "lost", "silent", "brief", "stopped")
    }
    assert reasons == {
        "malformed": ["malformed"],
        "large": ["too_large"],
        "lost": ["connection_lost"],
        "silent": ["no_pong"],
        "brief": ["token_expired"],
        "stopped": ["shutting_down"],
    }
    assert still_open(database) == 0
    said = [line for line in node.words if '"disconnected"' in line]
    assert all(f'"reason": "{reason}"' in " ".join(said) for (reason,) in reasons.values())


async def test_a_node_that_is_killed_has_its_sessions_closed_by_another_once(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers) as (one, other):
        async with client(one.url, "alice"), client(other.url, "bob") as bob, client(other.url, "bob"):
            await bob.join("general")
            await until(lambda: len(closings(database, "bob")) == 2)
            await other.kill()
            await closed(database, "bob", 2)
            assert list(closings(database, "bob").values()) == [NODE_LOST, NODE_LOST]
            await until(lambda: still_open(database) == 1)
            await asyncio.sleep(4)
            assert list(closings(database, "bob").values()) == [NODE_LOST, NODE_LOST]
            assert closings(database, "alice") == {alice_of(database): []}


def alice_of(database: Database) -> str:
    return str(sessions(database, "alice")[0]["session"])


@pytest.mark.logs("fenced")
async def test_a_node_that_stood_still_too_long_is_fenced_and_goes_on_as_another(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers, ONRECORD_PING_TIMEOUT="60") as (one, stopped):
        async with client(one.url, "alice"), client(stopped.url, "bob") as bob:
            await bob.join("general")
            await until(lambda: closings(database, "bob"))
            stopped.process.send_signal(signal.SIGSTOP)
            try:
                await closed(database, "bob")
            finally:
                stopped.process.send_signal(signal.SIGCONT)
            assert await bob.closed() == 4011
            assert bob.socket.close_reason == CLOSED[Close.FENCED][1]
            async with client(stopped.url, "bob", {"general": 0}) as again:
                await again.until(lambda: again.events("room:user_joined", userId="bob"))
                await until(lambda: len(closings(database, "bob")) == 2)
                await asyncio.sleep(4)
                first, second = closings(database, "bob").values()
                assert (first, second) == (NODE_LOST, [])
                lives = {
                    event["incarnation"] for event in sessions(database, "bob") if "incarnation" in event
                }
                assert len(lives) == 2


@pytest.mark.parametrize("seconds", [2.5])
async def test_a_short_pause_fences_nobody(database: Database, servers: Servers, seconds: float) -> None:
    async with two_nodes(database, servers) as (one, paused):
        async with client(one.url, "alice"), client(paused.url, "bob") as bob:
            await asyncio.sleep(14)  # until the other may judge
            for _ in range(2):
                paused.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                paused.process.send_signal(signal.SIGCONT)
                await asyncio.sleep(4)
            await bob.say("room:list")
            assert list(closings(database, "bob").values()) == [[]]
