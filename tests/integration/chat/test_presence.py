"""Who is online and who types, over devices and nodes, as other users' connections receive it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from service.embedded import Servers
from tests.support.chat.bystander import record
from tests.support.chat.members import members
from tests.support.clients.native import Client, Event, Refused, client
from tests.support.clients.speakers import DOORS, at
from tests.support.environment import environment
from tests.support.eventstore.log_node import stored
from tests.support.processes.cluster import two_nodes
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, running
from tests.support.servers.brokers import Broker
from tests.support.servers.databases import Database

pytestmark = pytest.mark.logs(*OUTAGE)

GRACE = {"ONRECORD_DISCONNECT_GRACE": "1"}


def presence(listener: Client, user: str) -> list[str]:
    """Return each status that was shown of a user."""
    return [event["status"] for event in listener.events("presence:changed", userId=user)]


def notices(listener: Client, user: str) -> list[Event]:
    """Return the comings and goings that are no part of the room's order."""
    kinds = ("room:user_left", "room:user_joined")
    return [
        event
        for event in listener.heard
        if event["type"] in kinds and "seq" not in event and event["userId"] == user
    ]


@pytest.fixture
async def node(database: Database) -> AsyncIterator[Process]:
    async with running(environment(database, **GRACE), "serve") as process:
        yield process


async def test_a_disconnect_is_told_after_the_grace_and_a_return_too(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with client(node.url, "bob", name="Bob") as bob:
            await bob.join("general")
            await alice.until(lambda: alice.events("room:user_joined", userId="bob"))
            assert (await members(alice))["bob"] == ("online", None)
        assert (await members(alice))["bob"] == ("online", None), "the grace"
        await alice.until(lambda: notices(alice, "bob"))
        status, seen = (await members(alice))["bob"]
        assert (status, seen is not None) == ("offline", True)
        assert alice.events("presence:changed", userId="bob", status="offline", lastSeen=seen)
        assert notices(alice, "bob") == [
            {"type": "room:user_left", "roomId": "general", "userId": "bob", "reason": "disconnect"}
        ]
        async with client(node.url, "bob", {"general": None}) as bob:
            await alice.until(lambda: len(notices(alice, "bob")) == 2)
            assert notices(alice, "bob")[1] == {
                "type": "room:user_joined",
                "roomId": "general",
                "userId": "bob",
                "name": "Bob",
                "role": "member",
                "reason": "reconnect",
            }
            assert notices(bob, "bob") == [], "nobody is told of their own return"
            assert (await members(alice))["bob"] == ("online", None)


async def test_a_reconnect_within_the_grace_is_silent(database: Database) -> None:
    async with running(environment(database, ONRECORD_DISCONNECT_GRACE="5"), "serve") as node:
        async with client(node.url, "alice") as alice:
            await alice.join("general")
            for _ in range(4):
                async with client(node.url, "bob") as bob:
                    await bob.join("general")
                    await asyncio.sleep(0.3)
                    bob.cut()
                await asyncio.sleep(0.7)
            await alice.until(lambda: presence(alice, "bob")[-1:] == ["offline"])  # sent after the notice
            assert presence(alice, "bob").count("offline") == 1
            assert len(notices(alice, "bob")) == 1


async def test_away_is_when_all_devices_are(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with client(node.url, "bob") as phone, client(node.url, "bob") as desk:
            for device in (phone, desk):
                await device.join("general")
            await phone.say("presence:set", status="away")
            await asyncio.sleep(0.5)
            assert "away" not in presence(alice, "bob")
            await desk.say("presence:set", status="away")
            await alice.until(lambda: presence(alice, "bob")[-1:] == ["away"])
            await phone.until(lambda: presence(phone, "bob")[-1:] == ["away"])
            assert (await members(alice))["bob"] == ("away", None)
            await phone.say("presence:set", status="online")
            await alice.until(lambda: presence(alice, "bob")[-1:] == ["online"])
            with pytest.raises(Refused, match="malformed"):
                await phone.say("presence:set", status="asleep")
        await alice.until(lambda: presence(alice, "bob")[-1:] == ["offline"])
        assert presence(alice, "bob")[-3:] == ["away", "online", "offline"]


async def test_people_who_share_no_room_hear_nothing_of_each_other(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "carol") as carol:
        await alice.join("general")
        await carol.join("elsewhere")
        async with client(node.url, "bob") as bob:
            for room in ("general", "other"):
                await bob.join(room)
        await alice.until(lambda: notices(alice, "bob"))
        assert presence(carol, "bob") == []
        assert notices(carol, "bob") == []


async def test_who_is_put_out_of_the_room_hears_nothing_more_of_those_inside(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "carol") as carol:
        await alice.join("general")
        await carol.join("general")
        async with client(node.url, "bob") as bob:
            await bob.join("general")
            # That he is online may have been shown before he joined, to nobody.
            await bob.say("presence:set", status="away")
            await carol.until(lambda: presence(carol, "bob")[-1:] == ["away"])
            await alice.say("room:kick", roomId="general", userId="carol")
            await carol.until(lambda: carol.events("room:user_left", userId="carol"))
            before = presence(carol, "bob")
            await bob.say("typing:start", roomId="general")
            await bob.say("presence:set", status="online")
            await alice.until(lambda: presence(alice, "bob")[-2:] == ["away", "online"])
        await alice.until(lambda: notices(alice, "bob"))
        await carol.say("room:list")
        assert presence(carol, "bob") == before
        assert carol.events("typing:start") == notices(carol, "bob") == []


async def test_typing_and_presence_leave_nothing_in_the_log(node: Process, database: Database) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        counted = "SELECT count(*) FROM stored_events WHERE NOT starts_with(stream, 'session:')"
        before = await stored(database, counted)
        await bob.say("typing:start", roomId="general")
        await alice.until(lambda: alice.events("typing:start"))
        await bob.say("typing:stop", roomId="general")
        await bob.say("presence:set", status="away")
        await alice.until(lambda: presence(alice, "bob")[-1:] == ["away"])
        assert await stored(database, counted) == before


async def test_each_connection_hears_once_however_many_rooms_are_shared(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        async with client(node.url, "bob") as bob:
            for room in ("one", "two", "three"):
                await alice.join(room)
                await bob.join(room)
            await asyncio.sleep(0.5)
            before = presence(alice, "bob")
        await alice.until(lambda: len(notices(alice, "bob")) == 3)
        await alice.say("room:list")
        assert presence(alice, "bob") == [*before, "offline"]
        assert {event["roomId"] for event in notices(alice, "bob")} == {"one", "two", "three"}


async def test_large_rooms_hear_nothing_of_comings_and_goings(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        rest = [f"user-{number}" for number in range(97)]
        await alice.say("room:create", roomId="large", name="Large", members=["bob", *rest])
        for start in (100, 150):
            for number in range(start, start + 52):
                async with client(node.url, f"user-{number}") as other:
                    await other.say("room:join", roomId="large")
        await alice.say("room:create", roomId="small", name="Small", members=["bob"])
        async with client(node.url, "bob"):
            await asyncio.sleep(0.5)
        await alice.until(lambda: notices(alice, "bob"))
        assert {event["roomId"] for event in notices(alice, "bob")} == {"small"}
        assert (await members(alice, "large"))["bob"][0] == "offline"


async def test_typing_is_told_to_the_others_and_stops_by_itself(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        async with client(node.url, "bob") as desk:
            for one in (alice, bob, desk):
                await one.join("general")
            about = {"roomId": "general", "userId": "bob"}
            await bob.say("typing:start", roomId="general")
            await alice.until(lambda: alice.events("typing:start", **about))
            for _ in range(3):
                await bob.say("typing:start", roomId="general")
            began = asyncio.get_running_loop().time()
            await alice.until(lambda: alice.events("typing:stop", **about))
            assert asyncio.get_running_loop().time() - began > 5
            assert len(alice.events("typing:start", **about)) == 1, "throttled"
            await bob.say("typing:start", roomId="general")
            await bob.post("general", "hello")
            await alice.until(lambda: len(alice.events("typing:stop", **about)) == 2)
            await bob.say("typing:start", roomId="general")
            await bob.say("typing:stop", roomId="general")
            await alice.until(lambda: len(alice.events("typing:stop", **about)) == 3)
            await desk.say("typing:start", roomId="general")
        await alice.until(lambda: len(alice.events("typing:stop", **about)) == 4)
        with pytest.raises(Refused, match="not_a_member"):
            await bob.join("elsewhere")
            await alice.say("typing:start", roomId="elsewhere")
        for device in (bob, desk):
            assert not device.events("typing:start")
            assert not device.events("typing:stop")


async def test_without_a_ref_neither_typing_nor_presence_is_acked(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for text in (
            '{"type":"typing:start","roomId":"general"}',
            '{"type":"typing:stop","roomId":"general"}',
            '{"type":"presence:set","status":"away"}',
        ):
            await alice.socket.send(text)
        await alice.say("room:list", ref="last")
        assert [event.get("ref") for event in alice.heard if event["type"] == "ack"][1:] == ["last"]


async def test_who_may_not_speak_is_not_shown_as_typing(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        await alice.say("room:mute", roomId="general", userId="bob")
        with pytest.raises(Refused) as refused:
            await bob.say("typing:start", roomId="general")
        assert refused.value.code == "muted"
        await alice.say("room:unmute", roomId="general", userId="bob")
        await alice.say("room:archive", roomId="general")
        with pytest.raises(Refused) as refused:
            await bob.say("typing:start", roomId="general")
        assert refused.value.code == "room_archived"
        await bob.say("typing:stop", roomId="general")
        await bob.say("message:history", roomId="general")
        assert not alice.events("typing:start")


# Two nodes


async def test_presence_and_typing_cross_from_node_to_node(database: Database, servers: Servers) -> None:
    async with two_nodes(database, servers, **GRACE) as (one, other):
        async with client(one.url, "alice") as alice:
            await alice.join("general")
            async with client(other.url, "bob") as bob, client(one.url, "bob") as phone:
                await bob.join("general")
                await alice.until(lambda: alice.events("room:user_joined", userId="bob"))
                await bob.say("typing:start", roomId="general")
                await alice.until(lambda: alice.events("typing:start", userId="bob"))
                await bob.say("presence:set", status="away")
                await phone.say("presence:set", status="away")
                await alice.until(lambda: presence(alice, "bob")[-1:] == ["away"])
                assert (await members(bob))["alice"] == ("online", None)
                await bob.close()
                await alice.until(lambda: alice.events("typing:stop", userId="bob"))
                await asyncio.sleep(2)
                assert notices(alice, "bob") == [], "one device is left, at the other node"
            await alice.until(lambda: notices(alice, "bob"))
            assert (await members(alice))["bob"][0] == "offline"
            async with client(other.url, "bob", {"general": None}):
                await alice.until(lambda: len(notices(alice, "bob")) == 2)
            await alice.until(lambda: len(notices(alice, "bob")) == 3)
            kinds = [event["reason"] for event in notices(alice, "bob")]
            assert kinds == ["disconnect", "reconnect", "disconnect"]


async def test_moving_to_the_other_node_within_the_grace_is_silent(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers, ONRECORD_DISCONNECT_GRACE="3") as (one, other):
        async with client(one.url, "alice") as alice, client(other.url, "carol") as carol:
            for watcher in (alice, carol):
                await watcher.join("general")
            async with client(one.url, "bob") as bob:
                await bob.join("general")
                await bob.say("presence:set", status="online")
                await carol.until(lambda: carol.events("room:user_joined", userId="bob"))
            for node in (other, one, other):
                await asyncio.sleep(1.5)
                async with client(node.url, "bob", {"general": None}):
                    await asyncio.sleep(0.5)
            async with client(one.url, "bob", {"general": None}):
                await asyncio.sleep(5)
                for watcher in (alice, carol):
                    assert notices(watcher, "bob") == []
                    assert "offline" not in presence(watcher, "bob")


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_users_of_a_lost_node_go_offline_once_unless_they_reconnect(
    database: Database, servers: Servers, how: str
) -> None:
    async with two_nodes(database, servers, ONRECORD_DISCONNECT_GRACE="5") as (one, other):
        async with client(one.url, "alice") as alice:
            await alice.join("general")
            async with (
                client(other.url, "bob") as bob,
                client(other.url, "carol") as carol,
                client(other.url, "dave") as dave,
                client(one.url, "dave", {"general": None}),
            ):
                for member in (bob, carol, dave):
                    await member.join("general")
                await alice.until(lambda: len(alice.events("room:user_joined")) == 4)
                await bob.say("typing:start", roomId="general")
                await alice.until(lambda: alice.events("typing:start", userId="bob"))
                await asyncio.sleep(1)
                await (other.stop() if how == "stop" else other.kill())
                async with client(one.url, "carol", {"general": None}):
                    assert (await members(alice))["bob"] == ("online", None), "the grace"
                    await alice.until(lambda: notices(alice, "bob"))
                    await asyncio.sleep(3)
                    assert [event["reason"] for event in notices(alice, "bob")] == ["disconnect"]
                    assert notices(alice, "carol") == notices(alice, "dave") == []
                    assert (await members(alice))["dave"] == ("online", None), "a device is at the other node"
                    assert len(alice.events("typing:stop", userId="bob")) == 1, (
                        "nobody types at a node that is gone"
                    )


async def test_an_outage_of_the_bus_freezes_presence(
    database: Database, servers: Servers, place: Path
) -> None:
    broker = Broker("valkey", place)
    broker.start()
    try:
        settings = {"ONRECORD_REDIS_URL": broker.url, **GRACE}
        async with two_nodes(database, servers, **settings) as (one, other):
            async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
                await alice.join("general")
                await bob.join("general")
                await alice.until(lambda: presence(alice, "bob") or alice.events("room:user_joined"))
                await asyncio.sleep(1)
                broker.kill()
                await asyncio.sleep(12)
                assert notices(alice, "bob") == notices(bob, "alice") == []
                assert (await members(alice))["bob"] == ("online", None)
                await bob.close()
                await asyncio.sleep(3)
                broker.start()
                await alice.until(lambda: notices(alice, "bob"))
                assert [event["reason"] for event in notices(alice, "bob")] == ["disconnect"]
    finally:
        broker.kill()


async def test_a_ping_is_answered_by_an_ack_and_changes_nothing(database: Database) -> None:
    async with running(environment(database), "serve") as node, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(client(node.url, "alice"))
        await alice.join("general")
        stored = record(database)
        assert await alice.say("ping", ref="beat-1") == {"type": "ack", "ref": "beat-1"}
        for door in DOORS:
            bob = await stack.enter_async_context(at(door, node, "bob"))
            assert await bob.say("ping") == "", door
            assert await bob.say("ping", roomId="general") == "malformed", door
        await alice.say("ping")
        assert record(database) == stored
        assert not alice.events("ping"), "the server starts none"


async def test_who_may_post_no_more_stops_typing_at_once_on_every_node(
    database: Database, servers: Servers
) -> None:
    silencing: list[tuple[str, dict[str, str]]] = [
        ("room:mute", {"userId": "bob"}),
        ("room:kick", {"userId": "bob"}),
        ("room:ban", {"userId": "bob"}),
        ("room:archive", {}),
    ]
    async with (
        two_nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(other.url, "alice") as tablet,
        client(one.url, "bob") as bob,
    ):
        for number, (command, fields) in enumerate(silencing):
            room = {"roomId": f"room-{number}"}
            await alice.say("room:create", name="Room", members=["bob"], **room)
            await alice.join(room["roomId"])
            await tablet.join(room["roomId"])
            await bob.say("typing:start", **room)
            for device in (alice, tablet):
                await device.until(partial(device.events, "typing:start", **room))
            await alice.say("typing:start", **room)
            await alice.say(command, **room, **fields)
            if command == "room:archive":
                await alice.say("room:reopen", **room)
            await alice.post(room["roomId"], "after")
            for device in (alice, tablet):
                await device.until(partial(device.events, "message:new", content="after", **room))
                assert device.events("typing:stop", userId="bob", **room), command
