"""`message:unread` and `message:pins` on both doors and over HTTP, over two nodes and several devices."""

from typing import Any

from service.embedded import Servers
from tests.support.chat.actions import code
from tests.support.clients.native import Client, Event, client
from tests.support.environment import environment
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database


async def listed(device: Client) -> Event:
    """Return the room as `room:list` has it."""
    (room,) = (await device.say("room:list"))["rooms"]
    return dict(room)


async def counts(device: Client) -> tuple[int, int, int]:
    room = await listed(device)
    return room["unread"], room["mentions"], room["lastRead"]


async def heard(device: Client, kind: str, **fields: Any) -> Event:
    await device.until(lambda: device.events(kind, **fields))
    return device.events(kind, **fields)[-1]


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
            moved = await heard(device, "message:unread", roomId="general")
            assert moved["lastRead"] == said[2] - 1
            assert await counts(device) == (3, 3, said[2] - 1)
        await alice.say("message:delete", roomId="general", messageId=said[3])
        await heard(there, "message:deleted", messageId=said[3])
        assert await counts(there) == (2, 2, said[2] - 1)

        # A device that comes back learns it, and others see what was read.
        room = await listed(here)
        async with client(other.url, "bob", {"general": room["head"]}) as back:
            assert (await heard(back, "message:unread"))["lastRead"] == said[2] - 1
            (receipt,) = back.events("room:receipts")[0]["receipts"]
            assert (receipt["userId"], receipt["messageId"]) == ("bob", said[-1])
        async with client(one.url, "bob") as anew:
            await anew.join("general")
            assert (await heard(anew, "message:unread"))["lastRead"] == said[2] - 1
        async with client(other.url, "carol") as carol:
            await carol.join("general")
            (receipt,) = carol.events("room:receipts")[0]["receipts"]
            assert (receipt["userId"], receipt["messageId"]) == ("bob", said[-1])
            assert not carol.events("message:unread")
        assert not alice.events("message:unread")
        assert [event["messageId"] for event in alice.events("message:read")] == [said[-1]]

        # A read within what was read before moves the own count alone; one past it is seen by all.
        await there.say("message:read", roomId="general", messageId=said[2])
        assert (await heard(here, "message:unread", lastRead=said[2]))["lastRead"] == said[2]
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


async def test_pins_are_listed_newest_first_in_pages(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        for each in (alice, bob):
            await each.join("general")
        said = [(await alice.post("general", f"{n}"))["messageId"] for n in range(5)]
        pinned = [said[3], said[0], said[4], said[1]]
        for number in pinned:
            await alice.say("message:pin", roomId="general", messageId=number)
        await alice.say("message:unpin", roomId="general", messageId=said[0])
        await alice.say("message:delete", roomId="general", messageId=said[4])
        await alice.say("message:pin", roomId="general", messageId=said[0])
        await heard(bob, "message:pinned", messageId=said[0], pinned=True)
        page = await bob.say("message:pins", roomId="general", limit=2)
        assert ([one["messageId"] for one in page["messages"]], page["hasMore"]) == ([said[0], said[1]], True)
        first = page["messages"][0]
        assert (first["content"], first["pinned"], first["pinnedBy"]) == ("0", True, "alice")
        cursor = page["messages"][-1]["pinSeq"]
        rest = await bob.say("message:pins", roomId="general", limit=2, before=cursor)
        assert ([one["messageId"] for one in rest["messages"]], rest["hasMore"]) == ([said[3]], False)
        assert (await bob.say("message:pins", roomId="general", before=1))["messages"] == []
        await bob.say("room:leave", roomId="general")
        assert await code(bob, "message:pins", roomId="general") == "not_a_member"
