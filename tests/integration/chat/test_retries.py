"""A retry has one effect and the same ack: every recorded command, at once on two nodes and again later.

A new command cannot be forgotten: it has no row.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from service.domain.streams import report_id
from service.embedded import Servers
from service.protocol.commands import COMMANDS
from tests.support.clients.native import Client, Event, Refused, client
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database

Nodes = tuple[Process, Process]
FAR, FARTHER = "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
ANSWER = ("type", "ref", "seq", "at", "messageId", "roomId")
"""What a retry is answered with as the first time; `head` of a join is that of now."""


@dataclass(frozen=True)
class Row:
    """A command, a different one under the same ref, its sender, and the owner's commands before it."""

    fields: dict[str, Any]
    otherwise: dict[str, Any]
    by: str = "owner"
    before: tuple[tuple[str, dict[str, Any]], ...] = ()
    events: int = 1


ABOUT = {"userId": "member"}
FIRST, SECOND = 4, 5
"""The messages in a room: after its opening and two joins."""

TABLE: dict[str, Row] = {
    "room:create": Row({"name": "Another"}, {"name": "Yet another"}),
    "room:join": Row({}, {"after": 1}, by="outsider"),
    "room:leave": Row({}, {"roomId": "elsewhere"}, by="member"),
    "room:update": Row({"name": "New", "topic": "Plans"}, {"topic": "Others"}, events=2),
    "room:archive": Row({}, {"roomId": "elsewhere"}),
    "room:reopen": Row({}, {"roomId": "elsewhere"}, before=(("room:archive", {}),)),
    "room:invite": Row({"userId": "outsider"}, {"userId": "another"}),
    "room:kick": Row({**ABOUT, "reason": "noise"}, {"reason": "more noise"}),
    "room:ban": Row({**ABOUT, "until": FAR}, {"until": FARTHER}),
    "room:unban": Row(
        {"userId": "outsider"}, {"reason": "why not"}, before=(("room:ban", {"userId": "outsider"}),)
    ),
    "room:mute": Row({**ABOUT, "until": FAR}, {"until": FARTHER}),
    "room:unmute": Row(ABOUT, {"reason": "why not"}, before=(("room:mute", ABOUT),)),
    "room:role": Row({**ABOUT, "role": "moderator"}, {"role": "owner"}),
    "message:send": Row({"content": "once"}, {"content": "twice"}, by="member"),
    "message:edit": Row({"messageId": FIRST, "content": "once"}, {"content": "twice"}),
    "message:delete": Row({"messageId": FIRST}, {"messageId": SECOND}),
    "message:react": Row({"messageId": FIRST, "emoji": "👍"}, {"emoji": "🎉"}, by="member"),
    "message:unreact": Row(
        {"messageId": FIRST, "emoji": "👍"},
        {"emoji": "🎉"},
        before=(("message:react", {"messageId": FIRST, "emoji": "👍"}),),
    ),
    "message:pin": Row({"messageId": FIRST}, {"messageId": SECOND}),
    "message:unpin": Row(
        {"messageId": FIRST}, {"messageId": SECOND}, before=(("message:pin", {"messageId": FIRST}),)
    ),
    "message:report": Row({"messageId": FIRST, "reason": "rude"}, {"reason": "very rude"}, by="member"),
    "report:resolve": Row({"outcome": "warned"}, {"outcome": "dismissed"}),
    "message:read": Row({"messageId": FIRST}, {"messageId": SECOND}, by="member"),
    "message:unread": Row({"messageId": FIRST}, {"messageId": SECOND}, by="member", events=0),  # never read
    "user:block": Row({"userId": "outsider"}, {"userId": "another"}, events=0),
    "user:unblock": Row({"userId": "outsider"}, {"userId": "another"}, events=0),
}


def test_every_recorded_command_has_a_row() -> None:
    assert set(TABLE) == {kind for kind, command in COMMANDS.items() if command.RECORDED}


@pytest.fixture
async def nodes(database: Database, servers: Servers) -> AsyncIterator[Nodes]:
    async with two_nodes(database, servers) as both:
        yield both


async def test_retry_on_any_node_has_one_effect_and_one_ack(nodes: Nodes, database: Database) -> None:
    one, other = nodes
    for number, (kind, row) in enumerate(TABLE.items()):
        room = f"room-{number}"
        async with client(one.url, "owner") as owner:
            await owner.say("room:create", roomId=room, name="Room", members=["member"])
            assert [(await owner.post(room, text))["seq"] for text in ("one", "two")] == [FIRST, SECOND]
            for before, fields in row.before:
                await owner.say(before, roomId=room, **fields)
        wish = {"roomId": room, **row.fields, "ref": f"retried-{number}"}
        if kind == "room:create" or kind.startswith("user:"):
            del wish["roomId"]  # the server chooses, once; a block is of no room
        if kind == "report:resolve":
            wish["reportId"] = await reported(one, room)
        stored = events(database)
        async with client(one.url, row.by) as here, client(other.url, row.by) as there:
            acks = await asyncio.gather(*(each.say(kind, **wish) for each in (here, there)))
            for again in (there, here):
                acks.append(await again.say(kind, **wish))
            await refused(there, kind, {**wish, **row.otherwise})
            await refused(here, kind, {**wish, **row.otherwise})
        # Later, on new connections, and after the sender's rights may have gone.
        async with client(other.url, row.by) as later:
            acks.append(await later.say(kind, **wish))
        answers = [{name: ack[name] for name in ANSWER if name in ack} for ack in acks]
        assert all(answer == answers[0] for answer in answers), (kind, answers)
        expected = 2 if kind == "room:create" else row.events
        assert events(database) - stored == expected, kind


async def reported(node: Process, room: str) -> str:
    """Let the owner report a message of the member; return the id of the report."""
    async with client(node.url, "member") as member, client(node.url, "owner") as owner:
        message = (await member.post(room, "three"))["seq"]
        await owner.say("message:report", roomId=room, messageId=message, reason="rude")
    return report_id(room, message, "owner")


async def refused(one: Client, kind: str, wish: Event) -> None:
    with pytest.raises(Refused) as error:
        await one.say(kind, **wish)
    assert error.value.code == "ref_conflict", kind


def events(database: Database) -> int:
    """Return how many events are on the record, but for those of people and sessions."""
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM stored_events WHERE stream ~ '^(room|reader|report):'"
        ).fetchone()
    assert row is not None
    return int(row[0])
