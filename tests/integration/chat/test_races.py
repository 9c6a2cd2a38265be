"""A permission ends with one event of the log, for commands in flight too, on every node.

Bob floods a room from one node while alice takes his right away on the other. What he was acknowledged stands before
that event, and what he did not get in is refused; every client receives the same.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from service.embedded import Servers
from tests.support.chat.actions import Nodes, _replay, code, contents, listening, room_of
from tests.support.clients.native import Client, Event, Refused, client
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database

MANY = 40
BEFORE = 3
"""Of the flood are acknowledged before the right is taken away."""


@dataclass(frozen=True)
class Race:
    """What bob does again and again, and what that is on the log; what takes the right away; and his error then.

    His commands are about the messages that alice has posted, one each; `own` says that they are about his own.
    """

    flood: str
    done: str
    stop: str
    told: str
    more: dict[str, Any]
    role: str = "member"
    own: bool = False

    def fields(self, number: int) -> dict[str, Any]:
        return {**({} if self.flood == "message:send" else {"messageId": number}), **self.more}


SAY, THUMB, MENDED = {"content": "again"}, {"emoji": "👍"}, {"content": "mended"}
RACES = {
    "kicked while sending": Race("message:send", "MessagePosted", "room:kick", "not_a_member", SAY),
    "banned while sending": Race("message:send", "MessagePosted", "room:ban", "banned", SAY),
    "muted while sending": Race("message:send", "MessagePosted", "room:mute", "muted", SAY),
    "archived while sending": Race("message:send", "MessagePosted", "room:archive", "room_archived", SAY),
    "kicked while editing": Race(
        "message:edit", "MessageEdited", "room:kick", "not_a_member", MENDED, own=True
    ),
    "muted while reacting": Race("message:react", "ReactionAdded", "room:mute", "muted", THUMB),
    "demoted while deleting": Race(
        "message:delete", "MessageDeleted", "room:role", "not_allowed", {}, "moderator"
    ),
    "demoted while pinning": Race(
        "message:pin", "MessagePinned", "room:role", "not_allowed", {}, "moderator"
    ),
}


@pytest.fixture
async def nodes(database: Database, servers: Servers) -> AsyncIterator[tuple[Process, Process]]:
    async with two_nodes(database, servers) as both:
        yield both


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
async def test_a_right_ends_with_one_event_for_everything_under_way(
    nodes: Nodes, database: Database, race: Race
) -> None:
    one, other = nodes
    async with (
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
        client(other.url, "carol") as carol,
    ):
        room = await room_of(alice, "bob", "carol")
        await asyncio.gather(listening(bob, room), listening(carol, room))
        if race.role != "member":
            await alice.say("room:role", roomId=room, userId="bob", role=race.role)
        author = bob if race.own else alice
        numbers = [(await author.post(room, f"no. {number}"))["messageId"] for number in range(MANY)]
        later = (await author.post(room, "later"))["messageId"]
        await carol.until(lambda: later in carol.seqs(room))
        begin = max(carol.seqs(room))

        acked, refused, stopped = await flooded(alice, bob, room, race, numbers)
        assert set(refused) <= {race.told}
        assert await code(bob, race.flood, roomId=room, **race.fields(later)) == race.told

        lines = [line for line in await _replay(database, room) if line["seq"] > begin]
        done = [line["seq"] for line in lines if line["by"] == "bob"]
        assert {line["type"] for line in lines if line["by"] == "bob"} == {race.done}
        assert done == sorted(acked)
        assert max(done) < stopped == max(line["seq"] for line in lines)
        for listener in (alice, carol):
            await listener.until(lambda: stopped in listener.seqs(room))  # noqa: B023 - waited for at once
            assert [seq for seq in listener.seqs(room) if seq > begin] == [*range(begin + 1, stopped + 1)]


async def flooded(
    alice: Client, bob: Client, room: str, race: Race, numbers: list[int]
) -> tuple[list[int], list[str], int]:
    """Return the seqs that bob was acknowledged, the codes of what was refused, and the seq of what stopped him."""
    acked: list[int] = []
    refused: list[str] = []
    enough = asyncio.Event()

    async def once(number: int) -> None:
        try:
            acked.append((await bob.say(race.flood, roomId=room, **race.fields(number)))["seq"])
        except Refused as refusal:
            refused.append(refusal.code)
        if len(acked) >= BEFORE:
            enough.set()

    async def stop() -> Event:
        await enough.wait()
        about = {} if race.stop == "room:archive" else {"userId": "bob"}
        role = {"role": "member"} if race.stop == "room:role" else {}
        return await alice.say(race.stop, roomId=room, **about, **role)

    stopping = asyncio.create_task(stop())
    await asyncio.gather(*map(once, numbers))
    return acked, refused, (await stopping)["seq"]


async def test_concurrent_edits_on_two_nodes_have_one_order(nodes: Nodes, database: Database) -> None:
    one, other = nodes
    async with (
        client(one.url, "alice") as here,
        client(other.url, "alice") as there,
        client(one.url, "bob") as bob,
    ):
        room = await room_of(here, "bob")
        await asyncio.gather(listening(there, room), listening(bob, room))
        number = (await here.post(room, "first"))["messageId"]
        edits = [
            device.say("message:edit", roomId=room, messageId=number, content=f"{name} {turn}")
            for turn in range(20)
            for name, device in (("here", here), ("there", there))
        ]
        acks = await asyncio.gather(*edits)
        last = max(ack["seq"] for ack in acks)
        assert sorted(ack["seq"] for ack in acks) == list(range(number + 1, last + 1)), (
            "each is recorded once"
        )
        logged = [line for line in await _replay(database, room) if line["type"] == "MessageEdited"]
        assert logged[-1]["seq"] == last
        for listener in (here, there, bob):
            await listener.until(lambda: last in listener.seqs(room))  # noqa: B023 - waited for at once
            heard = [(event["seq"], event["content"]) for event in listener.events("message:edited")]
            assert heard == [(line["seq"], line["content"]) for line in logged]
            assert await contents(listener, room) == [logged[-1]["content"]]


async def test_the_same_reaction_from_two_devices_at_once_is_one(nodes: Nodes, database: Database) -> None:
    one, other = nodes
    async with client(one.url, "alice") as here, client(other.url, "alice") as there:
        room = await room_of(here)
        await listening(there, room)
        for _ in range(5):
            number = (await here.post(room, "hello"))["messageId"]
            about: dict[str, Any] = {"roomId": room, "messageId": number, "emoji": "👍"}
            await asyncio.gather(here.say("message:react", **about), there.say("message:react", **about))
            await asyncio.gather(here.say("message:unreact", **about), there.say("message:unreact", **about))
        changes = [line["type"] for line in await _replay(database, room) if "emoji" in line]
        assert changes == ["ReactionAdded", "ReactionRemoved"] * 5


async def test_who_is_banned_while_joining_is_out_in_the_end(nodes: Nodes, database: Database) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice)
        for _ in range(5):
            joining, _ = await asyncio.gather(
                bob.say("room:join", roomId=room),
                alice.say("room:ban", roomId=room, userId="bob"),
                return_exceptions=True,
            )
            assert not isinstance(joining, Refused) or joining.code == "banned"
            members = (await alice.say("room:members", roomId=room))["members"]
            assert [member["userId"] for member in members] == ["alice"]
            assert await code(bob, "message:send", roomId=room, content="in?") == "banned"
            await alice.say("room:unban", roomId=room, userId="bob")
        last = [line["type"] for line in await _replay(database, room) if line.get("user") == "bob"]
        assert last[-2:] == ["MemberBanned", "MemberUnbanned"]


async def test_a_message_that_everybody_reacts_to_at_once_takes_every_reaction(nodes: Nodes) -> None:
    one, other = nodes
    crowd = [f"user-{number:02}" for number in range(60)]
    async with client(one.url, "alice") as alice, AsyncExitStack() as stack:
        room = await room_of(alice, *crowd)
        number = (await alice.post(room, "Who comes along?"))["messageId"]
        people = [
            await stack.enter_async_context(client((one, other)[turn % 2].url, user))
            for turn, user in enumerate(crowd)
        ]
        about: dict[str, Any] = {"roomId": room, "messageId": number, "emoji": "👍"}
        acks = await asyncio.gather(*(person.say("message:react", **about) for person in people))
        assert len({ack["seq"] for ack in acks}) == len(crowd)
        (shown,) = (await alice.say("message:history", roomId=room))["messages"][0]["reactions"]
        assert (shown["count"], sorted(shown["userIds"])) == (len(crowd), crowd)
