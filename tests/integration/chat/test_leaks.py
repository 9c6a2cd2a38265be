"""Nothing about a room reaches a connection whose user is no member at the moment of the write.

A lock on a table of the read models, or on the log's epoch, holds a node exactly where the race is.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from projections import read_receipts
from service.embedded import Servers
from service.realtime.catch_up import PAGE
from tests.support.clients.native import PATIENCE, Client, Event, Refused, client, raw
from tests.support.clients.socketio import driver
from tests.support.environment import environment, token
from tests.support.http.audits import visitor
from tests.support.http.openapi import reader
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database

ABOUT_ROOM = ("typing:start", "typing:stop", "message:read", "room:receipts", "room:members")
"""Frames without a place in the room's order, but presence."""


def ephemeral(events: list[Event]) -> list[str]:
    """Return the types of the frames that only members receive."""
    return [event["type"] for event in events if event["type"] in ABOUT_ROOM]


class Held:
    """A table that is locked until `release`, or until its block ends."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], table: str) -> None:
        self._connection = connection
        self._table = table

    async def reached(self) -> None:
        """Wait until a query stands at the lock."""
        async with asyncio.timeout(PATIENCE):
            while not await self._waiting():
                await asyncio.sleep(0.02)

    async def release(self) -> None:
        """Let the queries go on."""
        await self._connection.rollback()

    async def _waiting(self) -> bool:
        query = "SELECT FROM pg_locks WHERE NOT granted AND relation = %s::text::regclass"
        return await (await self._connection.execute(query, [self._table])).fetchone() is not None


@asynccontextmanager
async def held(database: Database, table: str) -> AsyncIterator[Held]:
    """Lock a table of a database."""
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
        await connection.execute(lock.format(sql.Identifier(*table.split("."))))
        yield Held(connection, table)


@pytest.fixture
async def patient(database: Database) -> AsyncIterator[Process]:
    """A node that waits long for its database."""
    async with running(environment(database, ONRECORD_DATABASE_TIMEOUT="60"), "serve") as node:
        yield node


@asynccontextmanager
async def opened(door: str, node: Process, user: str, rooms: dict[str, int | None]) -> AsyncIterator[Any]:
    """Give a connection at a door that has sent its `connect` and may not have been answered."""
    if door == "native":
        async with raw(node.url) as connection:
            one = Client(connection, user)
            connect = {"type": "connect", "protocol": 1, "token": token(user), "rooms": rooms}
            await connection.send(json.dumps(connect))
            yield one
            await one.close()
    else:
        async with driver("newest") as stock:
            yield await stock.open(node.address, user, wait=False, auth={"rooms": rooms})


async def busy(alice: Client, node: Process, room: str, comes: str = "carol") -> None:
    """Produce every kind of frame without a place in the room's order; `comes` is a member who connects."""
    message = (await alice.post(room, "later"))["messageId"]
    await alice.say("typing:start", roomId=room)
    await alice.say("typing:stop", roomId=room)
    await alice.say("message:read", roomId=room, messageId=message)
    async with client(node.url, comes):
        await alice.until(lambda: alice.events("presence:changed", userId=comes, status="online"))


def address_of(node: Process) -> tuple[str, int]:
    """Return where a node listens."""
    host, port = node.address.removeprefix("http://").split(":")
    return host, int(port)


async def level(one: Any) -> None:
    """Wait for an answer that follows everything written to a connection before."""
    with pytest.raises(Refused, match="room_not_found"):
        await one.say("room:members", roomId="no-such-room")


async def secret(alice: Client, *members: str) -> int:
    """Open a private room; return the number of a message in it."""
    await alice.say(
        "room:create",
        roomId="secret",
        name="First",
        visibility="private",
        members=["carol", "dora", *members],
    )
    return int((await alice.post("secret", "one"))["messageId"])


DOORS = pytest.mark.parametrize("door", ["native", "socketio"])
ENDS = pytest.mark.parametrize("end", ["room:kick", "room:ban"])
RECEIPTS = read_receipts.PROJECTION


@DOORS
@ENDS
async def test_connect_sends_no_receipts_after_a_removal(
    patient: Process, database: Database, door: str, end: str
) -> None:
    async with client(patient.url, "alice") as alice, held(database, RECEIPTS.relation) as lock:
        await secret(alice, "bob")
        async with opened(door, patient, "bob", {"secret": 0}) as bob:
            await lock.reached()
            gone = (await alice.say(end, roomId="secret", userId="bob"))["seq"]
            await busy(alice, patient, "secret")
            await lock.release()
            await bob.until(lambda: bob.events("connected"))
            if end != "room:ban":  # what was missed follows `connected`, and an answer may overtake it
                await bob.until(lambda: gone in bob.seqs("secret"))
            await level(bob)
            assert ephemeral(bob.heard) == []
            assert bob.events("presence:changed", userId="carol") == []
            assert bob.seqs("secret") == ([] if end == "room:ban" else list(range(1, gone + 1)))


@DOORS
@ENDS
async def test_a_join_sends_no_snapshots_after_a_removal(
    patient: Process, database: Database, door: str, end: str
) -> None:
    async with client(patient.url, "alice") as alice, opened(door, patient, "bob", {}) as bob:
        await secret(alice)
        await bob.until(lambda: bob.events("connected"))
        await alice.say("room:invite", roomId="secret", userId="bob")
        async with held(database, RECEIPTS.relation) as lock:
            joining = asyncio.create_task(bob.say("room:join", roomId="secret"))
            await lock.reached()
            gone = (await alice.say(end, roomId="secret", userId="bob"))["seq"]
            await busy(alice, patient, "secret")
            await lock.release()
            joined = (await joining)["seq"]
        if end != "room:ban":
            await bob.until(lambda: gone in bob.seqs("secret"))
        await level(bob)
        assert ephemeral(bob.heard) == []
        assert {one["userId"] for one in bob.events("presence:changed")} <= {"alice", "dave"}
        assert bob.events("presence:changed", userId="carol") == []
        assert bob.events("message:history") == []
        seen = [seq for seq in bob.seqs("secret") if seq >= joined]
        assert seen == ([] if end == "room:ban" else list(range(joined, gone + 1)))


@DOORS
async def test_a_join_that_failed_registers_nothing(node: Process, database: Database, door: str) -> None:
    async with client(node.url, "alice") as alice, opened(door, node, "bob", {}) as bob:
        await secret(alice)
        await alice.say("room:create", roomId="other", name="Other", members=["bob", "dave"])
        await alice.say("room:invite", roomId="secret", userId="bob")
        await bob.until(lambda: bob.events("connected"))
        with psycopg.connect(database.owner_url) as connection:
            # The projector has not begun this read model, which is as far behind as it can be.
            connection.execute(
                "DELETE FROM notification_tracking WHERE application_name = %s", [RECEIPTS.table]
            )
        with pytest.raises(Refused, match="projection_behind"):
            await bob.say("room:join", roomId="secret")
        await busy(alice, node, "secret")
        await alice.say("room:kick", roomId="secret", userId="bob")
        await busy(alice, node, "secret", "dora")
        # The connection works otherwise: it receives the presence of people in its user's rooms.
        async with client(node.url, "dave"):
            await alice.until(lambda: alice.events("presence:changed", userId="dave"))
        await level(bob)
        assert ephemeral(bob.heard) == []
        assert {one["userId"] for one in bob.events("presence:changed")} <= {"alice", "dave"}


async def test_a_ban_ends_a_page_that_is_being_sent(node: Process) -> None:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    small.setblocking(False)
    async with client(node.url, "alice") as alice:
        await secret(alice, "bob")
        async with asyncio.TaskGroup() as group:
            for _ in range(2 * PAGE):
                group.create_task(alice.post("secret", "\U0001f600" * 9_998))
        await asyncio.get_running_loop().sock_connect(small, address_of(node))
        async with raw(node.url, sock=small) as connection:
            connect = {"type": "connect", "protocol": 1, "token": token("bob"), "rooms": {"secret": 0}}
            await connection.send(json.dumps(connect))
            while json.loads(await connection.recv())["type"] != "message:new":
                pass
            await alice.say("room:ban", roomId="secret", userId="bob")
            bob = Client(connection, "bob")
            await level(bob)
            assert bob.seqs("secret")[-1] < PAGE, "what is left of the page that was read before the ban"


async def test_a_former_member_sees_the_name_as_of_the_leave(node: Process) -> None:
    async def seen(user: str) -> Any:
        async with reader(node, user) as http:
            return (await http.get("/api/rooms/secret")).json()

    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await secret(alice, "bob", "ben", "eve")
        await alice.say("room:update", roomId="secret", name="Second")
        left = (await bob.say("room:leave", roomId="secret"))["seq"]
        await alice.say("room:update", roomId="secret", name="Third")
        kicked = (await alice.say("room:kick", roomId="secret", userId="ben"))["seq"]
        await alice.say("room:ban", roomId="secret", userId="eve")
        await alice.say("room:update", roomId="secret", name="Fourth")
        former = {"roomId": "secret", "visibility": "private"}
        assert await seen("bob") == {**former, "name": "Second", "head": left}
        assert await seen("ben") == {**former, "name": "Third", "head": kicked}
        assert (await seen("eve"))["code"] == "room_not_found"
        assert (await seen("alice"))["name"] == "Fourth"
        await alice.say("room:invite", roomId="secret", userId="bob")
        await bob.until(lambda: bob.events("room:invited", name="Fourth"))
        assert (await seen("bob"))["name"] == "Fourth", "who is invited may know the room"
        listed = await bob.say("room:list")
        assert [one["name"] for one in listed["invitations"]] == ["Fourth"]
        await bob.say("room:leave", roomId="secret")
        assert (await seen("bob"))["name"] == "Second"
        assert (await bob.say("room:list"))["invitations"] == []


async def test_connect_shows_outsiders_and_the_banned_no_head(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await secret(alice)
        await alice.say("room:create", roomId="open", name="Open", members=["ben"])
        await alice.say("room:ban", roomId="open", userId="ben")
        await alice.say("room:invite", roomId="secret", userId="ivy")
        for user, room in (("ben", "open"), ("eve", "open"), ("ivy", "secret")):
            async with client(node.url, user, {room: 0}) as one:
                assert one.connected["rooms"][room] == {
                    "recovered": False,
                    "head": 0,
                    "reason": "not_a_member",
                }
                await level(one)
                about = {event["type"] for event in one.heard if event.get("roomId") == room}
                assert about <= {"room:invited"}, "an invitation of just now may still be on its way"


@pytest.mark.parametrize("end", ["room:kick", "room:ban", "room:leave"])
async def test_acks_show_a_former_member_no_later_head(node: Process, end: str) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await secret(alice)
        await alice.say("room:invite", roomId="secret", userId="bob")
        joined = await bob.say("room:join", roomId="secret", ref="join")
        if end == "room:leave":
            gone = (await bob.say(end, roomId="secret"))["seq"]
        else:
            gone = (await alice.say(end, roomId="secret", userId="bob"))["seq"]
        for _ in range(3):
            await alice.post("secret", "later")
        again = await bob.say("room:join", roomId="secret", ref="join")
        assert (again["seq"], again["head"]) == (joined["seq"], joined["seq"] if end == "room:ban" else gone)
        if end == "room:ban":
            with pytest.raises(Refused, match="room_not_found"):
                await bob.say("room:leave", roomId="secret")
            return
        for _ in range(2):  # what changed nothing, and its retry
            assert (await bob.say("room:leave", roomId="secret", ref="leave"))["seq"] == gone
        await alice.say("room:invite", roomId="secret", userId="bob")
        declined = (await bob.say("room:leave", roomId="secret", ref="decline"))["seq"]
        await alice.post("secret", "later still")
        assert (await bob.say("room:leave", roomId="secret", ref="decline"))["seq"] == declined
        assert (await bob.say("room:leave", roomId="secret"))["seq"] == gone


async def test_a_node_that_missed_a_removal_shows_nothing_later(database: Database) -> None:
    env = environment(database, ONRECORD_DATABASE_TIMEOUT="60")
    async with (
        running(env | {"ONRECORD_NODE": "one"}, "serve") as one,
        running(env | {"ONRECORD_NODE": "other"}, "serve") as other,
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
        client(other.url, "ben") as ben,
    ):
        await secret(alice, "bob", "ben")
        for who in (bob, ben):
            await who.join("secret")
        # Without a bus the other node learns of the removals by the log, whose epoch it looks at first.
        async with held(database, "log_epoch") as lock, reader(other, "bob") as http:
            await lock.reached()
            await alice.say("room:kick", roomId="secret", userId="bob")
            await alice.say("room:ban", roomId="secret", userId="ben")
            await alice.say(
                "message:read", roomId="secret", messageId=(await alice.post("secret", "two"))["messageId"]
            )
            page = await bob.say("message:history", roomId="secret")
            assert [message["content"] for message in page["messages"]] == ["one"]
            with pytest.raises(Refused, match="room_not_found"):
                await ben.say("message:history", roomId="secret")
            assert (await http.get("/api/rooms/secret/receipts")).status_code == 404
            assert (await bob.say("room:list"))["rooms"] == []


async def test_readings_about_a_person_are_shown_to_no_room(database: Database) -> None:
    env = environment(database, ONRECORD_SHOW_READINGS="true")
    async with (
        running(env, "serve") as node,
        client(node.url, "eve") as eve,
        visitor(node, "ann", "auditor") as ann,
        visitor(node, "eve", "chat") as owner,
        visitor(node, "bob", "chat") as bob,
    ):
        await eve.say("room:create", roomId="trap", name="Trap", visibility="private", members=["bob"])
        await eve.say("room:create", roomId="pair", name="Pair", visibility="direct", members=["bob"])
        for _ in range(3):
            for path in (
                "/audit/events?person=bob",
                "/audit/events?person=bob&room=trap",
                "/audit/people/bob/view?room=trap",
                "/audit/people/bob/view?room=pair",
                "/audit/people/eve/view?room=trap",
            ):
                assert (await ann.get(path)).status_code == 200
            await ann.get("/audit/rooms/trap")
        assert (await run(env, "audit", "person", "bob", "--room", "trap"))[0] == 0
        page: dict[str, Any] = {"readings": [], "hasMore": True}
        shown: list[Any] = []
        while page["hasMore"]:
            before = {"before": shown[0]["number"]} if shown else {}
            page = (await owner.get("/api/rooms/trap/readings", params={"limit": 1, **before})).json()
            shown = page["readings"] + shown
        assert [(one["what"], one["of"]) for one in shown] == [("room", "room")] * 3
        assert (await owner.get("/api/rooms/pair/readings")).json() == {"readings": [], "hasMore": False}
        for room in ("trap", "pair"):
            assert "ann" not in (await bob.get(f"/api/rooms/{room}/readings")).text
        everything = (await ann.get("/audit/events?type=AuditRead")).text
        assert everything.count('"AuditRead"') >= 18, "auditors see them all"


async def test_a_removal_on_another_node_ends_typing_and_markers(
    database: Database, servers: Servers
) -> None:
    async with (
        two_nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
        client(other.url, "carol") as carol,
    ):
        message = await secret(alice, "bob")
        for who in (bob, carol):
            await who.join("secret")
        await alice.say("typing:start", roomId="secret")
        await bob.until(lambda: bob.events("typing:start"))
        await alice.say("typing:stop", roomId="secret")
        await bob.until(lambda: bob.events("typing:stop"))
        gone = (await alice.say("room:kick", roomId="secret", userId="bob"))["seq"]
        await alice.say("message:read", roomId="secret", messageId=message)
        await carol.until(lambda: carol.events("message:read", messageId=message))
        await level(bob)
        assert bob.events("message:read") == []
        assert bob.seqs("secret")[-1] == gone
