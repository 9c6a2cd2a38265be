"""Nothing about a room reaches a connection whose user is no member at the moment of the write.

A lock on a table of the read models, or on the log's epoch, holds a node exactly where the race is.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from projections import messages, read_receipts
from service.embedded import Servers
from tests.databases import Database
from tests.socketio.stock import driver
from tests.whole.client import PATIENCE, Client, Event, Refused, client, raw
from tests.whole.cluster import two_nodes
from tests.whole.processes import Process, environment, running, token
from tests.whole.test_audits import visitor
from tests.whole.test_reads import reader

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
        await connection.execute(lock.format(sql.Identifier(table)))
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
        async with raw(node.url) as socket:
            one = Client(socket, user)
            connect = {"type": "connect", "protocol": 1, "token": token(user), "rooms": rooms}
            await socket.send(json.dumps(connect))
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


async def level(one: Any) -> None:
    """Wait for an answer that follows everything written to a connection before."""
    with pytest.raises(Refused, match="room_not_found"):
        await one.say("room:members", roomId="no-such-room")


async def secret(alice: Client, *members: str) -> int:
    """Open a private room; return the number of a message in it."""
    await alice.say(
        "room:create", roomId="secret", name="First", visibility="private", members=["carol", "dora", *members]
    )
    return int((await alice.post("secret", "one"))["messageId"])


DOORS = pytest.mark.parametrize("door", ["native", "socketio"])
ENDS = pytest.mark.parametrize("end", ["room:kick", "room:ban"])
RECEIPTS = read_receipts.PROJECTION.table


@DOORS
@ENDS
async def test_connect_sends_no_receipts_after_a_removal(
    patient: Process, database: Database, door: str, end: str
) -> None:
    async with client(patient.url, "alice") as alice, held(database, RECEIPTS) as lock:
        await secret(alice, "bob")
        async with opened(door, patient, "bob", {"secret": 0}) as bob:
            await lock.reached()
            gone = (await alice.say(end, roomId="secret", userId="bob"))["seq"]
            await busy(alice, patient, "secret")
            await lock.release()
            await bob.until(lambda: bob.events("connected"))
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
        async with held(database, RECEIPTS) as lock:
            joining = asyncio.create_task(bob.say("room:join", roomId="secret"))
            await lock.reached()
            gone = (await alice.say(end, roomId="secret", userId="bob"))["seq"]
            await busy(alice, patient, "secret")
            await lock.release()
            joined = (await joining)["seq"]
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
            connection.execute("DELETE FROM notification_tracking WHERE application_name = %s", [RECEIPTS])
        with pytest.raises(Refused, match="projection_behind"):
            await bob.say("room:join", roomId="secret")
        await busy(alice, node, "secret")
        await alice.say("room:kick", roomId="secret", userId="bob")
        await busy(alice, node, "secret", "dora")
        # The connection works otherwise: it receives the presence of people with whom its user shares a room.
        async with client(node.url, "dave"):
            await alice.until(lambda: alice.events("presence:changed", userId="dave"))
        await level(bob)
        assert ephemeral(bob.heard) == []
        assert {one["userId"] for one in bob.events("presence:changed")} <= {"alice", "dave"}
