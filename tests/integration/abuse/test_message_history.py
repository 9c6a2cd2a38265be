"""The history of one message is bounded, and a command about it costs the same however long the history is."""

from collections.abc import AsyncIterator

import pytest

from tests.support.chat.actions import code
from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

EDITS = 12
TOGGLES = 50


@pytest.fixture
async def limited(database: Database) -> AsyncIterator[Process]:
    async with running(environment(database, ONRECORD_MAX_EDITS=str(EDITS)), "serve") as one:
        yield one


async def test_edits_of_a_message_are_bounded_by_the_setting(limited: Process) -> None:
    async with client(limited.url, "alice") as alice:
        await alice.join("general")
        about = {"roomId": "general", "messageId": (await alice.post("general", "first"))["messageId"]}
        acks = [await alice.say("message:edit", ref=f"e{n}", content=f"{n}", **about) for n in range(EDITS)]
        assert await code(alice, "message:edit", content="too many", **about) == "not_allowed"
        assert await alice.say("message:edit", content=f"{EDITS - 1}", **about), "which changes nothing"
        again = await alice.say("message:edit", ref="e3", content="3", **about)
        assert again["seq"] == acks[3]["seq"], "a retry is answered as the first time"
        page = await alice.say("message:history", roomId="general")
        assert [each["content"] for each in page["messages"]] == [f"{EDITS - 1}"]
        assert await alice.say("message:delete", **about)


async def toggle(user: Client, on: str, off: str, **about: object) -> int:
    """Switch something on and off until it is refused; return how often it went on."""
    for turn in range(2 * TOGGLES):
        try:
            await user.say(on, **about)
        except Refused as refused:
            assert refused.error["code"] == "not_allowed"
            return turn
        await user.say(off, **about)
    return 2 * TOGGLES


async def test_toggles_of_a_message_are_bounded_for_each_user(
    limited: Process,
) -> None:
    async with client(limited.url, "alice") as alice, client(limited.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        about = {"roomId": "general", "messageId": (await alice.post("general", "first"))["messageId"]}
        emoji = {"emoji": "👍", **about}
        assert await toggle(bob, "message:react", "message:unreact", **emoji) == TOGGLES
        assert await code(bob, "message:react", **{**emoji, "emoji": "🎉"}) == "not_allowed"
        assert await alice.say("message:react", **emoji), "another user may"
        other = {**emoji, "messageId": (await alice.post("general", "second"))["messageId"]}
        assert await bob.say("message:react", **other), "and so may this one, on another message"
        assert await toggle(alice, "message:pin", "message:unpin", **about) == TOGGLES


async def test_a_former_member_reads_messages_as_they_were(limited: Process) -> None:
    async with client(limited.url, "alice") as alice, client(limited.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        numbers = [(await alice.post("general", f"no. {n}"))["messageId"] for n in range(3)]
        about = [{"roomId": "general", "messageId": number} for number in numbers]
        await alice.say("message:edit", content="seen", **about[0])
        await alice.say("message:react", emoji="👍", **about[1])
        await bob.say("room:leave", roomId="general")
        for turn in range(5):
            await alice.say("message:edit", content=f"later {turn}", **about[0])
        await alice.say("message:unreact", emoji="👍", **about[1])
        await alice.say("message:delete", **about[2])
        page = (await bob.say("message:history", roomId="general"))["messages"]
        assert [each["content"] for each in page] == ["seen", "no. 1", None]
        assert [each.get("reactions") for each in page] == [
            None,
            [{"emoji": "👍", "count": 1, "userIds": ["alice"], "mine": False}],
            None,
        ]
