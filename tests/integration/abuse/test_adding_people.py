"""What others may do to a person by adding, inviting and mentioning them, and how a block ends it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database


async def add(attacker: Client, victim: str, times: int) -> list[str]:
    """Open rooms with a person in them; return their ids."""
    return [
        (await attacker.say("room:create", name=f"Trap {number}", visibility="private", members=[victim]))[
            "roomId"
        ]
        for number in range(times)
    ]


async def heard(listener: Client, content: str) -> None:
    """Wait for a message."""
    await listener.until(lambda: listener.events("message:new", content=content))


async def test_who_is_added_to_100_rooms_can_still_join(node: Process) -> None:
    async with client(node.url, "mallory") as mallory, client(node.url, "victim") as victim:
        traps = await add(mallory, "victim", 100)
        await victim.until(lambda: len(victim.events("room:created")) == 100)
        for number in range(100):
            await victim.join(f"mine-{number}")
        with pytest.raises(Refused, match="too_many_rooms"):
            await victim.join("one-more")
        await mallory.post(traps[-1], "boo")
        await victim.until(lambda: victim.events("message:new", roomId=traps[-1]))
    cursors: dict[str, int | None] = dict.fromkeys([*traps, *(f"mine-{number}" for number in range(100))], 0)
    async with client(node.url, "victim", rooms=cursors) as victim:
        await victim.say("room:list")


async def test_the_refusal_says_when_more_may_be_added(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_ADDS_PER_HOUR="100"), "serve") as node,
        client(node.url, "mallory") as mallory,
    ):
        await mallory.say("room:create", name="All", members=[f"person-{number}" for number in range(100)])
        with pytest.raises(Refused) as refused:
            await mallory.say("room:create", name="More", members=["bob"])
        assert refused.value.code == "too_many_requests"
        assert refused.value.error["retryable"]
        assert 30 < refused.value.error["retryAfter"] <= 36


async def test_an_invitation_counts_as_an_addition(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_ADDS_PER_HOUR="1"), "serve") as node,
        client(node.url, "alice") as alice,
    ):
        await alice.join("general")
        for _ in range(2):
            await alice.say("room:invite", roomId="general", userId="bob", ref="once")
        with pytest.raises(Refused, match="too_many_requests"):
            await alice.say("room:invite", roomId="general", userId="carol")
        with pytest.raises(Refused, match="too_many_requests"):
            await alice.say("room:create", name="Plans", members=["carol"])


async def test_what_changes_nothing_is_not_charged(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_ADDS_PER_HOUR="1"), "serve") as node,
        client(node.url, "alice") as alice,
    ):
        await alice.join("general")
        for _ in range(3):
            await alice.say("room:invite", roomId="general", userId="alice")
            with pytest.raises(Refused, match="room_not_found"):
                await alice.say("room:invite", roomId="nowhere", userId="bob")
        await alice.say("room:invite", roomId="general", userId="bob")


async def test_with_a_lower_price_a_larger_addition_is_never_allowed(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_ADDS_PER_HOUR="2"), "serve") as node,
        client(node.url, "alice") as alice,
    ):
        with pytest.raises(Refused, match="not_allowed: One user may add 2 people in an hour"):
            await alice.say("room:create", name="Three", members=["a", "b", "c"])
        await alice.say("room:create", name="Two", members=["a", "b", "alice"])


@pytest.fixture
async def inviting(database: Database) -> AsyncIterator[Process]:
    """A node where people are added by invitations that they accept."""
    async with running(environment(database, ONRECORD_ADD_MEMBERS="invite"), "serve") as node:
        yield node


@pytest.mark.usefixtures("projector")
async def test_people_are_added_by_invitations_that_they_accept(
    inviting: Process,
) -> None:
    async with client(inviting.url, "alice") as alice, client(inviting.url, "bob") as bob:
        made = await alice.say("room:create", name="Plans", visibility="private", members=["bob", "carol"])
        await bob.until(lambda: bob.events("room:invited", name="Plans", by="alice"))
        listed = await bob.say("room:list")
        assert [each["roomId"] for each in listed["invitations"]] == [made["roomId"]]
        assert listed["rooms"] == []
        await bob.join(made["roomId"])
        members = await alice.say("room:members", roomId=made["roomId"])
        assert [each["userId"] for each in members["members"]] == ["alice", "bob"]


@pytest.mark.usefixtures("projector")
async def test_a_direct_room_is_a_request_until_it_is_answered(inviting: Process) -> None:
    async with client(inviting.url, "alice") as alice, client(inviting.url, "bob") as bob:
        ask = {"name": "Direct", "visibility": "direct", "members": ["bob"]}
        room = (await alice.say("room:create", **ask))["roomId"]
        await alice.post(room, "Hello, may I?")
        await bob.until(lambda: bob.events("room:invited", roomId=room))
        assert not bob.events("message:new")
        assert (await alice.say("room:create", **ask))["roomId"] == room, (
            "asked twice, it is the same request"
        )
        await bob.say("room:leave", roomId=room)
        assert (await alice.say("room:create", **ask))["roomId"] == room, "a declined request is not repeated"
        assert (await bob.say("room:list"))["invitations"] == []
        answer = await bob.say("room:create", name="x", visibility="direct", members=["alice"])
        assert answer["roomId"] == room, "the same room for the same people, whichever of them opens it"
        assert [each["content"] for each in (await bob.say("message:history", roomId=room))["messages"]] == [
            "Hello, may I?"
        ]
        await bob.post(room, "You may.")
        await alice.until(lambda: alice.events("message:new", content="You may."))


@pytest.mark.usefixtures("projector")
async def test_a_block_ends_invitations_additions_and_direct_rooms(node: Process) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        victim, mallory, bob = [await enter(client(node.url, user)) for user in ("victim", "mallory", "bob")]
        other = await enter(client(node.url, "victim"))
        known = (await mallory.say("room:create", name="x", visibility="direct", members=["victim"]))[
            "roomId"
        ]
        await victim.say("user:block", userId="mallory", ref="block")
        again = await victim.say("user:block", userId="mallory", ref="block")
        await other.until(lambda: other.events("user:blocked", userId="mallory", blocked=True))
        assert (await victim.say("user:blocks"))["userIds"] == ["mallory"]

        opened = await mallory.say(
            "room:create", name="Trap", members=["victim", "bob"], visibility="private"
        )
        assert opened["seq"] == 4, "the answer is the same as to other users"
        public = await mallory.say("room:create", name="Public")
        asked = await mallory.say("room:invite", roomId=public["roomId"], userId="victim")
        assert asked["seq"] == public["seq"] + 1
        assert (await mallory.say("room:invite", roomId=public["roomId"], userId="victim"))["seq"] == asked[
            "seq"
        ]
        for command, fields in (
            ("message:send", {"content": "I see you"}),
            ("room:update", {"topic": "I see you"}),
        ):
            with pytest.raises(Refused, match="not_allowed"):
                await mallory.say(command, roomId=known, **fields)
        await mallory.say("typing:start", roomId=known)
        await mallory.say("room:kick", roomId=opened["roomId"], userId="victim", reason="I see you")
        listed = await victim.say("room:list")
        assert listed["invitations"] == []
        assert [each["roomId"] for each in listed["rooms"]] == [known]

        # A friend's invitation is shown, although the blocked user invited first.
        await bob.join(public["roomId"])
        await bob.say("room:invite", roomId=public["roomId"], userId="victim")
        await victim.until(lambda: victim.events("room:invited", by="bob"))
        assert not [event for event in victim.heard if event.get("by") == "mallory"]
        assert not victim.events("typing:start")
        assert not [event for event in [*mallory.heard, *bob.heard] if event["type"] == "user:blocked"]

        await victim.say("user:unblock", userId="mallory")
        assert (await victim.say("user:blocks"))["userIds"] == []
        await mallory.post(known, "sorry")
        await victim.until(lambda: victim.events("message:new", content="sorry"))
        assert again["seq"] == 1


@pytest.mark.usefixtures("projector")
async def test_a_mention_by_a_blocked_user_is_none_for_the_mentioned_alone(node: Process) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        victim, mallory, bob = [await enter(client(node.url, user)) for user in ("victim", "mallory", "bob")]
        for each in (victim, mallory, bob):
            await each.join("general")
        await victim.say("user:block", userId="mallory")
        for content in ("first", "second"):
            await mallory.post("general", content, mentions=["victim", "bob"])
        for each in (victim, mallory, bob):
            await heard(each, "second")
            shown = [event.get("mentions") for event in each.events("message:new")]
            assert shown == [["bob"] if each is victim else ["victim", "bob"]] * 2
            page = await each.say("message:history", roomId="general")
            assert [message.get("mentions") for message in page["messages"]] == shown
        (counted,) = (await victim.say("room:list"))["rooms"]
        assert (counted["unread"], counted["mentions"]) == (2, 0)
        assert counted["lastMessage"]["mentions"] == ["bob"]
        (counted,) = (await bob.say("room:list"))["rooms"]
        assert (counted["unread"], counted["mentions"]) == (2, 2)
    async with client(node.url, "victim", rooms={"general": 0}) as victim:
        await victim.until(lambda: len(victim.events("message:new")) == 2)
        assert [event["mentions"] for event in victim.events("message:new")] == [["bob"]] * 2


async def test_a_block_holds_on_another_node_and_is_reported_there(database: Database) -> None:
    env = environment(database)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        here, there = [await enter(running(env, "serve")) for _ in range(2)]
        victim, elsewhere = [await enter(client(at.url, "victim")) for at in (here, there)]
        mallory = await enter(client(there.url, "mallory"))
        await victim.say("user:block", userId="mallory")
        await elsewhere.until(lambda: elsewhere.events("user:blocked", userId="mallory", blocked=True))
        await mallory.say("room:create", name="Trap", members=["victim"])
        assert (await elsewhere.say("user:blocks"))["userIds"] == ["mallory"]
        await victim.say("user:unblock", userId="mallory")
        await elsewhere.until(lambda: elsewhere.events("user:blocked", userId="mallory", blocked=False))
        assert not elsewhere.events("room:created")


async def test_added_rooms_give_way_the_least_recently_used_first(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_MAX_ADDED_ROOMS="3"), "serve") as node,
        client(node.url, "mallory") as mallory,
        client(node.url, "victim") as victim,
    ):
        first, second, third = await add(mallory, "victim", 3)
        await victim.until(lambda: len(victim.events("room:created")) == 3)
        await victim.post(first, "I use this one")
        (fourth,) = await add(mallory, "victim", 1)
        await victim.until(lambda: victim.events("room:unsubscribed"))
        assert victim.events("room:unsubscribed") == [{"type": "room:unsubscribed", "roomId": second}]
        for room in (first, second, third, fourth):
            await mallory.post(room, "hello")
        await victim.until(lambda: len(victim.events("message:new", content="hello")) == 3)
        await victim.join(second, after=0)
        await victim.until(lambda: victim.events("message:new", roomId=second))
        assert victim.events("room:unsubscribed")[-1]["roomId"] == third
