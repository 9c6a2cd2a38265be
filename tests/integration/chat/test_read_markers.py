"""Read markers and unread counts over two nodes and several devices, against an oracle."""

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.embedded import Servers
from tests.support.clients.native import Client, client
from tests.support.environment import environment
from tests.support.processes.cluster import two_nodes
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import run, running
from tests.support.servers.brokers import broker
from tests.support.servers.databases import Database

pytestmark = pytest.mark.logs(*OUTAGE)


async def test_devices_at_two_nodes_move_one_marker_and_only_forward(
    database: Database, servers: Servers
) -> None:
    chance = random.Random(11)
    async with (
        two_nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(other.url, "carol") as carol,
        client(one.url, "bob") as here,
        client(other.url, "bob") as there,
    ):
        for each in (alice, carol, here, there):
            await each.join("general")
        numbers = [(await alice.post("general", str(n)))["messageId"] for n in range(30)]
        await heard(there, "message:new", messageId=numbers[-1])
        for _ in range(5):
            await asyncio.gather(
                *(device.say("message:read", roomId="general", messageId=chance.choice(numbers[:-1]))
                  for device in (here, there) for _ in range(4))
            )  # fmt: skip
        await there.say("message:read", roomId="general", messageId=numbers[-1])
        await here.say("message:read", roomId="general", messageId=numbers[0])
        for watcher in (alice, carol):
            await heard(watcher, "message:read", userId="bob", messageId=numbers[-1])
            markers = [event["messageId"] for event in watcher.events("message:read", userId="bob")]
            assert markers == sorted(set(markers))
        for node in (one, other):
            async with client(node.url, "dave") as dave:
                await dave.join("general")
                (receipt,) = dave.events("room:receipts")[0]["receipts"]
                assert (receipt["userId"], receipt["messageId"]) == ("bob", numbers[-1])


async def test_receipts_are_sent_again_after_an_outage_of_the_bus(database: Database, place: Path) -> None:
    with broker("valkey", place) as bus:
        settings = {"ONRECORD_REDIS_URL": bus.url}
        async with (
            running(environment(database, **settings), "serve") as node,
            running(environment(database, **settings), "project", "run"),
            client(node.url, "alice") as alice,
            client(node.url, "bob") as bob,
        ):
            for each in (alice, bob):
                await each.join("general")
            number = (await alice.post("general", "read me"))["messageId"]
            await bob.say("message:read", roomId="general", messageId=number)
            bus.kill()
            alice.heard.clear()
            bus.start()
            await alice.until(lambda: alice.events("room:receipts", roomId="general"))
            (receipt,) = alice.events("room:receipts")[0]["receipts"]
            assert (receipt["userId"], receipt["messageId"]) == ("bob", number)
            assert not any("task_failed" in line for line in node.words)


async def heard(device: Client, kind: str, **fields: Any) -> None:
    """Wait until a device has heard an event."""
    await device.until(lambda: device.events(kind, **fields))


class Oracle(msgspec.Struct):
    """What one knows who saw everything: messages by number as author, who is mentioned, and whether they stand."""

    said: dict[int, tuple[str, list[str], bool]] = {}
    marker: dict[str, int] = {}
    position: dict[str, int] = {}
    joined: dict[str, int] = {}

    def expected(self, reader: str) -> tuple[int, int, int]:
        floor = max(self.position.get(reader, 0), self.joined[reader])
        unread = [
            mentioned
            for number, (author, mentioned, stands) in self.said.items()
            if number > floor and author != reader and stands
        ]
        return len(unread), sum(reader in mentioned for mentioned in unread), self.position.get(reader, 0)


@pytest.mark.timeout(300)
async def test_unread_counts_match_an_oracle_on_every_node_and_device(
    database: Database, servers: Servers
) -> None:
    chance, oracle = random.Random(13), Oracle()
    async with (
        two_nodes(database, servers) as (one, other),
        running(environment(database), "project", "run"),
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
        client(one.url, "bob") as bobs_other,
        client(other.url, "carol") as carol,
    ):
        devices = {"alice": [alice], "bob": [bob, bobs_other], "carol": [carol]}
        for name, theirs in devices.items():
            oracle.joined[name] = await joined(theirs)
        for _ in range(80):
            await act(chance, oracle, devices)
            for reader, theirs in devices.items():
                summary = await listed(chance.choice(theirs))
                assert (summary["unread"], summary["mentions"], summary["lastRead"]) == oracle.expected(
                    reader
                )
    code, report, _ = await run(environment(database), "project", "verify")
    assert code == 0, report


async def joined(devices: list[Client]) -> int:
    """Have all devices of a user in the room; return the number of their joining."""
    seq: int = (await devices[0].join("general"))["seq"]
    for other in devices[1:]:
        await other.join("general")
    return seq


async def listed(device: Client) -> dict[str, Any]:
    """The room as its list has it."""
    (summary,) = (await device.say("room:list"))["rooms"]
    return dict(summary)


async def act(chance: random.Random, oracle: Oracle, devices: dict[str, list[Client]]) -> None:
    """A user posts, edits, deletes or reads; or alice, the owner, removes a user who rejoins."""
    name = chance.choice(list(devices))
    device = chance.choice(devices[name])
    mine = [number for number, (author, _, stands) in oracle.said.items() if author == name and stands]
    countable = [
        number
        for number, (author, _, stands) in oracle.said.items()
        if stands and author != name and number > oracle.joined[name]
    ]
    match chance.choices(["say", "edit", "delete", "read", "unread", "kick"], [8, 1, 2, 3, 3, 1])[0]:
        case "edit" if mine:
            await device.say("message:edit", roomId="general", messageId=chance.choice(mine), content="y")
        case "delete" if mine:
            number = chance.choice(mine)
            await device.say("message:delete", roomId="general", messageId=number)
            oracle.said[number] = (*oracle.said[number][:2], False)
        case "read" if oracle.said:
            number = chance.choice(list(oracle.said))
            await device.say("message:read", roomId="general", messageId=number)
            oracle.marker[name] = max(oracle.marker.get(name, 0), number)
            oracle.position[name] = max(oracle.position.get(name, 0), number)
        case "unread" if countable:
            number = chance.choice(countable)
            await device.say("message:unread", roomId="general", messageId=number)
            oracle.position[name] = min(number - 1, oracle.marker.get(name, 0))
        case "kick" if name != "alice":
            kicked = await devices["alice"][0].say("room:kick", roomId="general", userId=name)
            for each in devices[name]:
                await heard(each, "room:user_left", seq=kicked["seq"])
            oracle.joined[name] = await joined(devices[name])
        case _:
            mentions = [other for other in devices if other != name and chance.random() < 0.3]
            ack = await device.post("general", "x", **({"mentions": mentions} if mentions else {}))
            oracle.said[ack["messageId"]] = (name, mentions, True)
