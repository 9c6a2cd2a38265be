"""What a second reader found, each as it was shown: none of it comes back."""

import asyncio
import json
import socket
from functools import partial

import psycopg
import pytest
from websockets.asyncio.client import connect

from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database


async def test_a_retried_join_shows_nothing_to_somebody_who_has_left_since(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.say("room:create", roomId="secret", name="Secret", visibility="private", members=["bob"])
        first = await bob.say("room:join", roomId="secret", ref="join-once")
        await bob.say("room:leave", roomId="secret")
        await alice.post("secret", "after bob")
        heard = len(bob.heard)
        again = await bob.say("room:join", roomId="secret", ref="join-once")
        assert (again["seq"], again["at"]) == (first["seq"], first["at"])
        await bob.say("room:list")
        assert [event["type"] for event in bob.heard[heard:]] == ["ack", "ack"]
        assert not bob.events("message:new")


async def test_who_left_hears_no_receipts_of_what_came_later(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        left = (await bob.say("room:leave", roomId="general"))["seq"]
        late = (await alice.post("general", "late"))["messageId"]
        await alice.say("message:read", roomId="general", messageId=late)
        async with client(node.url, "bob", {"general": 0}) as again:
            await again.until(lambda: again.events("room:user_left", seq=left))
            await again.say("room:list")
            assert not again.events("room:receipts")


async def test_a_reply_tells_an_outsider_nothing_of_a_private_room(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "eve") as eve:
        await alice.say("room:create", roomId="secret", name="Secret", visibility="private")
        message = (await alice.post("secret", "hidden"))["messageId"]
        codes = set()
        for room, number in (("secret", message), ("secret", 999), ("missing", 1)):
            with pytest.raises(Refused) as refused:
                await eve.post(room, "x", replyTo=number)
            codes.add(refused.value.code)
        assert codes == {"room_not_found"}


async def test_from_now_on_means_from_the_very_head_that_connected_names(node: Process) -> None:
    rooms = [f"room-{number}" for number in range(30)]
    async with client(node.url, "alice") as alice:
        for room in rooms:
            await alice.join(room)
        posting = asyncio.create_task(_post_everywhere(alice, rooms))
        for _ in range(10):
            async with client(node.url, "alice", dict.fromkeys(rooms)) as again:
                busy = rooms[:5]
                await again.until(partial(_all_heard, again, busy))
                for room in busy:
                    head = again.connected["rooms"][room]["head"]
                    assert again.seqs(room) == list(range(head + 1, head + 1 + len(again.seqs(room))))
        posting.cancel()


def _all_heard(listener: Client, rooms: list[str]) -> bool:
    return all(map(listener.seqs, rooms))


async def _post_everywhere(alice: Client, rooms: list[str]) -> None:
    while True:
        await asyncio.gather(*(alice.post(room, "x") for room in rooms[:5]))


async def test_a_read_is_acked_only_with_its_marker_on_the_record(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        sent = [(await alice.post("general", str(number)))["messageId"] for number in range(8)]
        await bob.post("general", "mine", ref="used")
        await bob.say("message:read", roomId="general", messageId=sent[0])
        reads = (
            bob.say("message:read", roomId="general", messageId=sent[-1], ref="used"),
            bob.say("message:read", roomId="general", messageId=sent[4]),
        )
        conflict, acked = await asyncio.gather(*reads, return_exceptions=True)
        assert isinstance(conflict, Refused)
        assert conflict.code == "ref_conflict"
        assert not isinstance(acked, BaseException)
        assert (await bob.say("room:list"))["rooms"][0]["lastRead"] == sent[4]


@pytest.mark.logs("unreadable_event")
async def test_an_event_of_a_newer_version_holds_up_its_own_room_only(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("new")
        await bob.join("old")
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as owner:
            await owner.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state, stream, subject, "
                "recorded_at, recorded_by) SELECT originator_id, 3, 'room.FromTheFuture.v1', '{}', stream, "
                "'settings', clock_timestamp(), 'alice' FROM stored_events WHERE stream = 'room:new' LIMIT 1"
            )
        waiting = asyncio.gather(*(alice.post("new", "x") for _ in range(5)), return_exceptions=True)
        for number in range(20):
            await bob.post("old", str(number))
        await bob.until(lambda: len(bob.events("message:new")) == 20)
        await waiting


async def test_a_commit_that_came_after_its_deadline_is_heard_all_the_same(database: Database) -> None:
    env = environment(database, ONRECORD_DATABASE_TIMEOUT="0.5", ONRECORD_CATCHUP_INTERVAL="0.2")
    async with running(env, "serve") as node, client(node.url, "alice") as alice:
        await alice.join("general")
        async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as owner:
            await owner.execute("SELECT pg_advisory_lock(7236109)")
            with pytest.raises(Refused, match="unavailable"):
                await alice.post("general", "late", ref="late")
            await owner.execute("SELECT pg_advisory_unlock(7236109)")
        ack = await alice.post("general", "late", ref="late")
        await alice.until(lambda: alice.events("message:new", content="late"))
        assert alice.events("message:new") == [
            {**alice.events("message:new")[0], "seq": ack["seq"], "messageId": ack["messageId"]}
        ]


async def test_two_nodes_without_a_bus_hear_each_other_by_the_tail_of_the_log(database: Database) -> None:
    env = environment(database, ONRECORD_CATCHUP_INTERVAL="0.1")
    async with running(env, "serve") as one, running(env, "serve") as other:
        async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
            await alice.join("general")
            await bob.join("general")
            await alice.post("general", "from the other node")
            await bob.until(lambda: bob.events("message:new", content="from the other node"))
            assert bob.seqs("general") == [3, 4]


async def test_many_rooms_catch_up_together_for_a_reader_that_is_merely_slow(node: Process) -> None:
    rooms = [f"room-{number}" for number in range(10)]
    async with client(node.url, "alice") as alice:
        for room in rooms:
            await alice.join(room)
        for _ in range(25):
            await asyncio.gather(*(alice.post(room, "\U0001f600" * 9_900) for room in rooms))
    small = socket.create_connection(node.address.removeprefix("http://").split(":"))  # type: ignore[arg-type] # host, port
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    async with connect(
        node.url, sock=small, ping_interval=None, max_size=None, max_queue=1, compression=None
    ) as slow:
        await slow.send(
            json.dumps(
                {"type": "connect", "protocol": 1, "token": token("alice"), "rooms": dict.fromkeys(rooms, 0)}
            )
        )
        await asyncio.sleep(1)  # what it does not read during that time must not count against it
        heard: dict[str, list[int]] = {room: [] for room in rooms}
        while sum(map(len, heard.values())) < 10 * 27:
            event = json.loads(await asyncio.wait_for(slow.recv(), 60))
            if "seq" in event:
                heard[event["roomId"]].append(event["seq"])
        assert all(seqs == list(range(1, 28)) for seqs in heard.values())


async def test_a_list_of_many_rooms_with_long_messages_fits_into_the_outbox(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        for number in range(30):
            await alice.say("room:create", roomId=f"long-{number:02}", name="Long")
            await alice.post(f"long-{number:02}", "\U0001f600" * 9_900)
        rooms = (await alice.say("room:list"))["rooms"]
        assert len(rooms) == 30
        assert rooms[0]["lastMessage"]["messageId"] == 3
        assert rooms[-1]["lastMessage"] is None


async def test_connected_comes_before_everything_else(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        creating = asyncio.create_task(_create_with_bob(alice))
        for _ in range(20):
            async with client(node.url, "bob") as bob:
                assert bob.heard[0]["type"] == "connected"
        creating.cancel()


async def _create_with_bob(alice: Client) -> None:
    while True:
        await alice.say("room:create", name="Again", members=["bob"])
