"""Which frames about a room reach a connection, by what its user is in the room: one table, at both doors.

Two nodes share a bus. The room's owner acts on one node, and the connection of the table is on the other, together
with a witness: a member whose frames say when a node has sent everything.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from projections import read_receipts
from service.embedded import Servers
from service.protocol.commands import COMMANDS
from service.protocol.events import Outgoing
from tests.support.clients.native import Client, Refused, client, raw
from tests.support.clients.socketio import driver
from tests.support.environment import token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process
from tests.support.projections.behind import behind
from tests.support.servers.databases import Database

EPHEMERAL = {"typing:start", "typing:stop", "message:read", "presence:changed"}
RECORDED = {
    "message:new", "message:edited", "message:deleted", "message:reaction", "message:pinned",
    "room:updated", "room:invited", "room:user_joined", "room:user_left", "room:member_updated",
}  # fmt: skip
LIVE = EPHEMERAL | RECORDED
ELSEWHERE = {
    "connected": "about the connection",
    "room:created": "the first event of a room; nobody is in any state before it",
    "room:receipts": "sent with a join and a connect: tests/integration/chat/test_leaks.py",
    "message:reported": "to moderators alone: tests/integration/audit/test_reports.py",
    "report:resolved": "the same",
    "room:members": "sent with a join",
    "message:history": "the same",
    "room:unsubscribed": "about the connection: tests/integration/abuse/test_adding_people.py",
    "room:content_removed": "after an expiry or an erasure: tests/integration/audit/test_erasure.py",
    "user:blocked": "about the user: the same",
    "message:unread": "to the user alone: tests/integration/chat/test_read_markers.py",
}
"""Frames that have no place in the table, and why."""

NONE: set[str] = set()
BACKLOG, LARGE = 300, "\U0001f600" * 9_998
"""Messages, and what each says: more than the buffers of two sockets hold."""


@dataclass(frozen=True)
class State:
    """What a connection receives while the room is busy, and what its user may read then.

    `members` and `history` are "ok" or a code. `late` says whether the history has what was posted after the change of
    state, `listed` where `room:list` has the room.
    """

    live: set[str]
    members: str
    history: str
    late: bool = False
    listed: str = ""


FORMER = State(NONE, "room_not_found", "ok")
OUTSIDE = State(NONE, "room_not_found", "room_not_found")
STATES = {
    "member": State(LIVE, "ok", "ok", late=True, listed="rooms"),
    "kicked": FORMER,
    "kicked-elsewhere": FORMER,
    "left": FORMER,
    "banned": OUTSIDE,
    "invited": State(NONE, "not_a_member", "not_a_member", listed="invitations"),
    "uninvited": OUTSIDE,
    "never": OUTSIDE,
    "catching-up": State(LIVE, "ok", "ok", late=True, listed="rooms"),
    "kicked-catching-up": FORMER,
    "banned-catching-up": OUTSIDE,
    # The user is a member, and the connection is not subscribed to the room.
    "failed-join": State(NONE, "ok", "ok", late=True, listed="rooms"),
    "archived": State({"message:read", "presence:changed", "room:updated"}, "ok", "ok", listed="rooms"),
}


def test_every_frame_that_the_server_sends_has_a_place() -> None:
    sent = {cls.__struct_config__.tag for cls in Outgoing.__subclasses__()}
    assert sent == LIVE | ELSEWHERE.keys()
    assert {kind for kind in COMMANDS if kind.startswith("typing")} <= LIVE


class Slow(Client):
    """A client that reads only while `reads` is set, so that the server waits for its socket."""

    def __init__(self, socket: Any, user: str) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        super().__init__(socket, user)

    async def _take(self, event: dict[str, Any]) -> None:
        await self.reads.wait()
        await super()._take(event)


@dataclass
class Connection:
    """A connection of the table; `pause` and `resume` stop and go on with reading its socket."""

    one: Any
    pause: Callable[[], None]
    resume: Callable[[], None]


@asynccontextmanager
async def native(node: Process, user: str, rooms: dict[str, int | None]) -> AsyncIterator[Connection]:
    async with raw(node.url) as socket:
        one = Slow(socket, user)
        connect = {"type": "connect", "protocol": 1, "token": token(user), "rooms": rooms}
        await socket.send(json.dumps(connect))
        yield Connection(one, one.reads.clear, one.reads.set)
        await one.close()


@asynccontextmanager
async def socketio(node: Process, user: str, rooms: dict[str, int | None]) -> AsyncIterator[Connection]:
    async with driver("newest") as stock:
        one = await stock.open(
            node.address, user, wait=False, auth={"rooms": rooms}, transports=["websocket"]
        )
        process = stock._process
        yield Connection(
            one, lambda: process.send_signal(signal.SIGSTOP), lambda: process.send_signal(signal.SIGCONT)
        )


DOORS = {"native": native, "socketio": socketio}


class Scene:
    """A room, its owner alice and what she does; bob's connection is that of the table."""

    def __init__(self, room: str, people: dict[str, Client], other: Process, database: Database) -> None:
        self.room = room
        self.alice, self.witness, self.guest = people["alice"], people["witness"], people["guest"]
        self.moderator = people["moderator"]
        self.bob, self.carol = f"bob-{room}", f"carol-{room}"
        self.other = other
        self.database = database
        self.connection: Connection

    async def say(self, who: Client, kind: str, **fields: Any) -> dict[str, Any]:
        return await who.say(kind, roomId=self.room, **fields)

    async def open(self, *, member: bool) -> None:
        """Open the room, with a message that former members may read."""
        members = ["witness", "moderator", self.carol, *([self.bob] if member else [])]
        await self.say(self.alice, "room:create", name="First", visibility="private", members=members)
        await self.say(self.alice, "room:role", userId="moderator", role="moderator")
        await self.say(self.alice, "message:send", content="early")
        await self.say(self.witness, "room:join")

    async def fill(self) -> None:
        """Make the past of the room longer than sockets hold."""
        async with asyncio.TaskGroup() as group:
            for _ in range(BACKLOG):
                group.create_task(self.say(self.alice, "message:send", content=LARGE))

    async def busy(self) -> None:
        """Do everything that members are sent something of, as far as the room's state permits."""
        room = self.room
        message = (await self.say(self.alice, "message:send", content="late"))["messageId"]
        about = {"messageId": message}
        await self.say(self.alice, "message:edit", **about, content="later")
        await self.say(self.alice, "message:react", **about, emoji="\U0001f389")
        await self.say(self.alice, "message:pin", **about)
        await self.say(self.alice, "message:delete", **(await self.spare()))
        await self.say(self.alice, "room:update", name="Second")
        await self.say(self.alice, "room:invite", userId="guest")
        await self.say(self.guest, "room:join")
        await self.say(self.alice, "room:kick", userId="guest")
        await self.say(self.alice, "room:mute", userId=self.carol)
        await self.say(self.alice, "typing:start")
        await self.say(self.alice, "typing:stop")
        await self.read_and_come(message)
        await self.witness.until(lambda: kinds(self.witness, room, self.carol) >= LIVE)

    async def spare(self) -> dict[str, int]:
        """Post a message that is to be deleted."""
        return {"messageId": (await self.say(self.alice, "message:send", content="spare"))["messageId"]}

    async def archived(self) -> None:
        """Do what is done in an archived room."""
        head = (await self.say(self.alice, "room:archive"))["seq"]
        await self.read_and_come(head - 1)
        wanted = STATES["archived"].live
        await self.witness.until(lambda: kinds(self.witness, self.room, self.carol) >= wanted)

    async def read_and_come(self, message: int) -> None:
        """Move a marker, and let carol come online."""
        await self.say(self.alice, "message:read", messageId=message)
        async with client(self.other.url, self.carol):
            seen = {"userId": self.carol, "status": "online"}
            await self.witness.until(lambda: self.witness.events("presence:changed", **seen))


def kinds(one: Any, room: str, carol: str, after: int = 0) -> set[str]:
    """Return which kinds of frames a connection received about a room, or carol's presence; `after` is a seq."""
    of_room = {
        event["type"]
        for event in one.heard
        if event.get("roomId") == room and event.get("seq", after + 1) > after and event["type"] in LIVE
    }
    return of_room | {event["type"] for event in one.events("presence:changed", userId=carol)}


REMOVALS = {
    "kicked": ("moderator", "room:kick"),
    "kicked-elsewhere": ("alice", "room:kick"),
    "banned": ("alice", "room:ban"),
    "kicked-catching-up": ("alice", "room:kick"),
    "banned-catching-up": ("alice", "room:ban"),
}
"""Who ends bob's membership, and how."""


async def become(scene: Scene, state: str) -> int:
    """Bring bob into a state; return the seq after which the table counts."""
    one = scene.connection.one
    if state not in (*SLOW, *OUTSIDERS):
        await scene.say(one, "room:join")
    if state in REMOVALS:
        who, kind = REMOVALS[state]
        gone = int((await scene.say(getattr(scene, who), kind, userId=scene.bob))["seq"])
        if state not in SLOW:
            await one.until(lambda: one.events("room:user_left", seq=gone))
        return gone
    if state == "left":
        return int((await scene.say(one, "room:leave"))["seq"])
    if state in ("invited", "uninvited", "failed-join"):
        await invite(scene, state)
    # Every earlier event is sent by now, on the node of the connection too.
    return int((await scene.say(scene.moderator, "message:send", content="begin"))["seq"])


async def invite(scene: Scene, state: str) -> None:
    """Invite bob, and let that lead to a state."""
    alice, one = scene.alice, scene.connection.one
    await scene.say(alice, "room:invite", userId=scene.bob)
    await one.until(lambda: one.events("room:invited", name="First"))
    if state == "uninvited":
        await scene.say(alice, "room:kick", userId=scene.bob)
        await one.until(lambda: one.events("room:user_left", roomId=scene.room))
    if state == "failed-join":
        with behind(scene.database, read_receipts.PROJECTION.table), pytest.raises(Refused) as refused:
            await scene.say(one, "room:join")
        assert refused.value.code == "projection_behind"


async def outcome(one: Any, kind: str, room: str) -> tuple[str, dict[str, Any]]:
    """Ask for something; return "ok" or the code, and the answer."""
    try:
        return "ok", await one.say(kind, roomId=room)
    except Refused as refused:
        return refused.code, {}


async def reads(scene: Scene) -> State:
    """Return what bob may read now, in the terms of the table."""
    one, room = scene.connection.one, scene.room
    members, _ = await outcome(one, "room:members", room)
    history, page = await outcome(one, "message:history", room)
    said = {message["content"] for message in page.get("messages", ())}
    listed = await one.say("room:list")
    where = [name for name in ("rooms", "invitations") if room in {each["roomId"] for each in listed[name]}]
    return State(NONE, members, history, late="later" in said, listed="".join(where))


SLOW = ("catching-up", "kicked-catching-up", "banned-catching-up")
OUTSIDERS = ("invited", "uninvited", "never", "failed-join")


@pytest.mark.parametrize("door", DOORS)
async def test_a_connection_receives_what_its_user_may_see(
    database: Database, servers: Servers, door: str
) -> None:
    wrong: dict[str, Any] = {}
    async with two_nodes(database, servers) as (node, other), AsyncExitStack() as stack:
        people = {
            who: await stack.enter_async_context(client((other if who in THERE else node).url, who))
            for who in ("alice", "witness", "guest", "moderator")
        }
        for state, expected in STATES.items():
            scene = Scene(state, people, other, database)
            await scene.open(member=state not in OUTSIDERS)
            if state in SLOW:
                await scene.fill()
            rooms: dict[str, int | None] = {state: 0} if state in SLOW else {}
            async with DOORS[door](other, scene.bob, rooms) as scene.connection:
                found = await observed(scene, state)
            if found != expected:
                wrong[state] = found
    assert wrong == {}


THERE = ("witness", "moderator")
"""Those on the node of the table's connection."""


async def observed(scene: Scene, state: str) -> State:
    """Return what became of a row of the table."""
    connection, one = scene.connection, scene.connection.one
    await one.until(lambda: one.events("connected"))
    if state in SLOW:
        await one.until(lambda: one.events("message:new", content=LARGE))
        connection.pause()
    after = await become(scene, state)
    await (scene.archived() if state == "archived" else scene.busy())
    connection.resume()
    wanted = STATES[state].live
    await one.until(lambda: kinds(one, scene.room, scene.carol, after) >= wanted)
    may_read = await reads(scene)
    if state == "kicked-catching-up":
        await one.until(lambda: one.events("room:user_left", userId=scene.bob, seq=after))
    live = kinds(one, scene.room, scene.carol, after)
    return State(live, may_read.members, may_read.history, may_read.late, may_read.listed)
