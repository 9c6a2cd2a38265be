"""Read markers, marks as unread and unread counts over two nodes and several devices, against an oracle."""

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from service.embedded import Servers
from tests.support.chat.actions import code
from tests.support.clients.native import Client, client
from tests.support.environment import environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, run, running
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


async def counts(device: Client) -> tuple[int, int, int]:
    room = await listed(device)
    return room["unread"], room["mentions"], room["lastRead"]


async def test_unread_goes_back_for_its_user_on_all_devices_and_receipts_stay(
    database: Database, servers: Servers
) -> None:
    async with (
        two_nodes(database, servers) as (one, other),
        running(environment(database), "project", "run"),
        client(one.url, "alice") as alice,
        client(one.url, "bob") as here,
        client(other.url, "bob") as there,
    ):
        for each in (alice, here, there):
            await each.join("general")
        said = [(await alice.post("general", f"{n}", mentions=["bob"]))["messageId"] for n in range(5)]
        await heard(there, "message:new", messageId=said[-1])
        await here.say("message:read", roomId="general", messageId=said[-1])
        await heard(there, "message:read", userId="bob", messageId=said[-1])
        await here.say("message:unread", roomId="general", messageId=said[2])
        for device in (here, there):
            await heard(device, "message:unread", roomId="general", lastRead=said[2] - 1)
            assert await counts(device) == (3, 3, said[2] - 1)
        await here.say("message:read", roomId="general", messageId=said[-1])
        headers = {"Authorization": f"Bearer {token('bob')}"}
        async with httpx.AsyncClient(base_url=other.address, headers=headers) as http:
            marked = await http.post("/api/rooms/general/unread", json={"messageId": said[2]})
            assert (marked.status_code, marked.json()["roomId"]) == (200, "general")
            own = await http.post("/api/rooms/nowhere/unread", json={"messageId": said[2]})
            assert (own.status_code, own.json()["code"]) == (404, "room_not_found")
        for device in (here, there):
            await heard(device, "message:unread", lastRead=said[2] - 1, at=marked.json()["at"])
            assert await counts(device) == (3, 3, said[2] - 1)
        await alice.say("message:delete", roomId="general", messageId=said[3])
        await heard(there, "message:deleted", messageId=said[3])
        assert await counts(there) == (2, 2, said[2] - 1)

        # A device that comes back learns it, and others see what was read.
        room = await listed(here)
        async with client(other.url, "bob", {"general": room["head"]}) as back:
            await heard(back, "message:unread", lastRead=said[2] - 1)
            (receipt,) = back.events("room:receipts")[0]["receipts"]
            assert (receipt["userId"], receipt["messageId"]) == ("bob", said[-1])
        async with client(one.url, "bob") as anew:
            await anew.join("general")
            await heard(anew, "message:unread", lastRead=said[2] - 1)
        async with client(other.url, "carol") as carol:
            await carol.join("general")
            (receipt,) = carol.events("room:receipts")[0]["receipts"]
            assert (receipt["userId"], receipt["messageId"]) == ("bob", said[-1])
            assert not carol.events("message:unread")
        assert not alice.events("message:unread")
        assert [event["messageId"] for event in alice.events("message:read")] == [said[-1]]

        # A read within what was read before moves the own count alone; one past it is seen by all.
        await there.say("message:read", roomId="general", messageId=said[2])
        await heard(here, "message:unread", lastRead=said[2])
        assert await counts(here) == (1, 1, said[2])
        await there.say("message:read", roomId="general", messageId=said[-1])
        await heard(here, "message:unread", lastRead=said[-1])
        assert await counts(here) == (0, 0, said[-1])
        last = (await alice.post("general", "last"))["messageId"]
        await here.say("message:unread", roomId="general", messageId=said[0])
        await there.say("message:read", roomId="general", messageId=last)
        await heard(alice, "message:read", messageId=last)
        assert await counts(here) == (0, 0, last)
        assert [event["messageId"] for event in alice.events("message:read")] == [said[-1], last]
    found, report, _ = await run(environment(database), "project", "verify")
    assert found == 0, report


async def test_a_retried_read_does_not_undo_a_later_mark(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        for each in (alice, bob):
            await each.join("general")
        said = [(await alice.post("general", f"{n}"))["messageId"] for n in range(3)]
        read = {"roomId": "general", "messageId": said[2], "ref": "read-once"}
        mark = {"roomId": "general", "messageId": said[1], "ref": "mark-once"}
        first = await bob.say("message:read", **read)
        await bob.say("message:unread", **mark)
        assert await bob.say("message:read", **read) == first
        assert (await counts(bob))[0] == 2
        await bob.say("message:read", roomId="general", messageId=said[2])
        await bob.say("message:unread", **mark)
        assert (await counts(bob))[0] == 0


async def test_messages_that_never_count_are_refused(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        early = (await alice.post("general", "before bob"))["messageId"]
        joined = (await bob.join("general"))["seq"]
        gone, last = [(await alice.post("general", text))["messageId"] for text in ("gone", "last")]
        own = (await bob.post("general", "mine"))["messageId"]
        await alice.say("message:delete", roomId="general", messageId=gone)
        for number, expected in (
            (gone, "message_deleted"),
            (own, "not_allowed"),
            (early, "not_allowed"),
            (joined, "message_not_found"),
            (10_000, "message_not_found"),
        ):
            assert await code(bob, "message:unread", roomId="general", messageId=number) == expected
        assert await code(bob, "message:unread", roomId="nowhere", messageId=3) == "room_not_found"
        await bob.say("room:leave", roomId="general")
        assert await code(bob, "message:unread", roomId="general", messageId=last) == "not_a_member"
