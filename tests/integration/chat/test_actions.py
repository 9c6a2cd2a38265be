"""Every action on rooms and messages, over two nodes on one log: what is seen live, what is read later, who may not."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.protocol.commands import COMMANDS, RoomFrame
from tests.support.chat.actions import FIELDS, Nodes, _replay, code, contents, listening, refusal, room_of
from tests.support.clients.native import Client, Event, Refused, client
from tests.support.environment import environment
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database


@pytest.fixture
async def nodes(database: Database) -> AsyncIterator[Nodes]:
    """Two nodes that learn of each other's events from the log."""
    env = environment(database, ONRECORD_CATCHUP_INTERVAL="0.1")
    async with running(env, "serve") as one, running(env, "serve") as other:
        yield one, other


async def test_nothing_tells_a_private_room_from_a_missing_one(database: Database) -> None:
    """Neither to strangers nor to the banned, on a node that knows the room and on one that does not."""
    env = environment(database, ONRECORD_JOIN_CREATES="false")
    # To end one's typing is always granted: it says nothing of the room.
    kinds = [
        kind for kind, frame in COMMANDS.items() if issubclass(frame, RoomFrame) and kind != "typing:stop"
    ]
    async with running(env, "serve") as one, running(env, "serve") as other:
        async with client(one.url, "alice") as alice, client(one.url, "ben") as ben:
            await room_of(alice, "ben", roomId="secret", visibility="private")
            await alice.post("secret", "hidden")
            await alice.say("room:ban", roomId="secret", userId="ben")
            await ben.until(lambda: ben.events("room:user_left", userId="ben", reason="banned"))
            for node in (one, other):
                for user in ("eve", "ben"):
                    async with client(node.url, user, {"secret": 0, "nowhere": 0}) as outsider:
                        heads = outsider.connected["rooms"]
                        assert heads["secret"] == heads["nowhere"]
                        for kind in kinds:
                            answers = {
                                json.dumps(answer).replace(room, "ROOM")
                                for room in ("secret", "nowhere")
                                for answer in [
                                    await refusal(
                                        outsider,
                                        kind,
                                        ref=f"{kind}-{room}",
                                        roomId=room,
                                        **FIELDS.get(kind, {}),
                                    )
                                ]
                            }
                            assert len(answers) == 1, answers
                            assert '"room_not_found"' in answers.pop()
                        assert (await outsider.say("room:list"))["rooms"] == []


async def test_who_is_kicked_hears_that_and_nothing_later(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        await alice.post(room, "before")
        ack = await alice.say("room:kick", roomId=room, userId="bob", reason="noise")
        await bob.until(lambda: bob.events("room:user_left", seq=ack["seq"]))
        left = bob.events("room:user_left")[0]
        assert (left["userId"], left["reason"], left["by"], left["explanation"]) == (
            "bob",
            "kicked",
            "alice",
            "noise",
        )
        await alice.post(room, "after")
        assert await contents(bob, room) == ["before"]
        assert await code(bob, "message:send", roomId=room, content="let me in") == "not_a_member"
        assert await alice.say("room:kick", roomId=room, userId="bob"), "once more changes nothing"
        assert await code(alice, "room:kick", roomId=room, userId="nobody") == "user_not_found"
        assert bob.seqs(room)[-1] == ack["seq"]
        await listening(bob, room)
        assert await contents(bob, room) == ["before", "after"]


async def test_who_is_banned_is_out_until_the_time_has_come(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        await alice.post(room, "before")
        until = datetime.now(UTC) + timedelta(seconds=5)
        ban = await alice.say("room:ban", roomId=room, userId="bob", until=until.isoformat())
        await bob.until(lambda: bob.events("room:user_left", userId="bob", reason="banned"))
        back = await until_allowed(bob, "room:join", "banned", roomId=room)
        assert datetime.fromisoformat(back["at"]) >= until - SLACK
        assert back["seq"] == ban["seq"] + 1, "it ended without an event"
        past = "2020-01-01T00:00:00Z"
        assert await code(alice, "room:ban", roomId=room, userId="bob", until=past) == "not_allowed"


SLACK = timedelta(seconds=1)
"""By which the database's clock may be moved while a test runs."""


async def until_allowed(one: Client, kind: str, told: str, **fields: Any) -> Event:
    """Repeat a command while the refusal is the given one, until it is allowed; return the ack."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await one.say(kind, **fields)
            except Refused as refused:
                assert refused.code == told
                await asyncio.sleep(0.1)


async def test_who_is_banned_may_nothing(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        await alice.post(room, "before")
        await alice.say("room:ban", roomId=room, userId="bob", until="2099-01-01T00:00:00Z")
        await bob.until(lambda: bob.events("room:user_left", userId="bob", reason="banned"))
        for kind in ("room:join", "room:members", "message:history"):
            assert await code(bob, kind, roomId=room) == "banned"
        assert await code(bob, "message:send", roomId=room, content="x") == "banned"
        assert await code(alice, "room:invite", roomId=room, userId="bob") == "not_allowed"
        async with client(other.url, "bob", {room: 0}) as again:
            assert again.connected["rooms"][room]["reason"] == "not_a_member"
            await again.say("room:list")
            assert again.seqs(room) == []


async def test_who_is_muted_is_silent_until_the_time_has_come(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        until = datetime.now(UTC) + timedelta(seconds=5)
        mute = await alice.say("room:mute", roomId=room, userId="bob", until=until.isoformat())
        await bob.until(lambda: bob.events("room:member_updated", userId="bob", muted=True, seq=mute["seq"]))
        told = bob.events("room:member_updated", userId="bob")[-1]
        assert datetime.fromisoformat(told["until"]) == until
        said = await until_allowed(bob, "message:send", "muted", roomId=room, content="again")
        assert datetime.fromisoformat(said["at"]) >= until - SLACK
        assert said["seq"] == mute["seq"] + 1, "it ended without an event"
        members = (await alice.say("room:members", roomId=room))["members"]
        assert [(one.get("muted"), one.get("mutedUntil")) for one in members] == [(None, None)] * 2


async def test_unbanning_lets_somebody_come_back(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice)
        await alice.say("room:ban", roomId=room, userId="bob")
        assert await code(bob, "room:join", roomId=room) == "banned"
        await alice.say("room:unban", roomId=room, userId="bob")
        await listening(bob, room)


async def test_the_muted_say_nothing_on_any_node(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        mine = (await bob.post(room, "mine"))["messageId"]
        await alice.say("room:mute", roomId=room, userId="bob")
        assert await code(bob, "message:send", roomId=room, content="x") == "muted"
        assert await code(bob, "message:edit", roomId=room, messageId=mine, content="x") == "muted"
        assert await code(bob, "message:react", roomId=room, messageId=mine, emoji="👍") == "muted"
        await bob.until(lambda: bob.events("room:member_updated", userId="bob", muted=True))
        members = (await bob.say("room:members", roomId=room))["members"]
        assert [one.get("muted") for one in members] == [None, True]
        await bob.say("room:leave", roomId=room)
        await listening(bob, room)
        assert await code(bob, "message:send", roomId=room, content="x") == "muted"
        await alice.say("room:unmute", roomId=room, userId="bob")
        await bob.post(room, "again")


async def test_roles_count_at_once_on_every_node(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob", "carol")
        await listening(bob, room)
        assert await code(bob, "room:kick", roomId=room, userId="carol") == "not_allowed"
        await alice.say("room:role", roomId=room, userId="bob", role="moderator")
        assert await code(bob, "room:kick", roomId=room, userId="alice") == "not_allowed"
        await bob.say("room:kick", roomId=room, userId="carol")
        assert await code(bob, "room:update", roomId=room, name="Bob's") == "not_allowed"
        assert await code(alice, "room:role", roomId=room, userId="alice", role="member") == "last_owner"
        assert await code(alice, "room:kick", roomId=room, userId="alice") == "last_owner"
        await alice.say("room:role", roomId=room, userId="bob", role="owner")
        await bob.say("room:role", roomId=room, userId="alice", role="member")
        assert await code(alice, "room:archive", roomId=room) == "not_allowed"
        assert await code(alice, "room:role", roomId=room, userId="x", role="owner") == "not_allowed"
        assert await code(bob, "room:role", roomId=room, userId="x", role="owner") == "user_not_found"


async def test_two_owners_who_demote_each_other_at_once_leave_one(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        for _ in range(5):
            room = await room_of(alice, "bob")
            await listening(bob, room)
            await alice.say("room:role", roomId=room, userId="bob", role="owner")
            answers = await asyncio.gather(
                alice.say("room:role", roomId=room, userId="bob", role="member"),
                bob.say("room:role", roomId=room, userId="alice", role="member"),
                return_exceptions=True,
            )
            lost = [answer for answer in answers if isinstance(answer, Refused)]
            assert [answer.code for answer in lost] == ["not_allowed"]
            members = (await alice.say("room:members", roomId=room))["members"]
            assert sorted(member["role"] for member in members) == ["member", "owner"]


async def test_an_invitation_is_heard_listed_taken_and_taken_back(nodes: Nodes) -> None:
    one, other = nodes
    async with (
        client(one.url, "alice") as alice,
        client(one.url, "bob") as bob,
        client(other.url, "bob") as away,
    ):
        room = await room_of(alice, visibility="private")
        ack = await alice.say("room:invite", roomId=room, userId="bob")
        await bob.until(lambda: bob.events("room:invited", roomId=room))
        assert bob.events("room:invited")[0] == {
            "type": "room:invited", "roomId": room, "seq": ack["seq"], "userId": "bob", "by": "alice", "at": ack["at"],
            "name": "Room", "visibility": "private",
        }  # fmt: skip
        listed = await away.say("room:list")
        assert [(it["roomId"], it["name"], it["by"]) for it in listed["invitations"]] == [
            (room, "Room", "alice")
        ]
        assert await code(away, "message:history", roomId=room) == "not_a_member"
        await alice.say("room:kick", roomId=room, userId="bob")
        await bob.until(lambda: bob.events("room:user_left", roomId=room, userId="bob"))
        assert (await away.say("room:list"))["invitations"] == []
        assert await code(away, "room:join", roomId=room) == "room_not_found"
        await alice.say("room:invite", roomId=room, userId="bob")
        await listening(away, room)
        assert (await bob.say("room:list"))["invitations"] == []


async def test_an_archived_room_is_read_and_left_until_it_is_reopened(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        said = (await alice.post(room, "said"))["messageId"]
        await alice.say("room:archive", roomId=room)
        await bob.until(lambda: bob.events("room:updated", archived=True))
        assert await code(bob, "message:send", roomId=room, content="x") == "room_archived"
        assert await code(bob, "message:react", roomId=room, messageId=said, emoji="👍") == "room_archived"
        async with client(other.url, "carol") as carol:
            assert await code(carol, "room:join", roomId=room) == "room_archived"
        await bob.say("message:read", roomId=room, messageId=said)
        assert await contents(bob, room) == ["said"]
        (listed,) = (await bob.say("room:list"))["rooms"]
        assert (listed["archived"], listed["unread"]) == (True, 0)
        await alice.say("room:reopen", roomId=room)
        await bob.post(room, "back")


async def test_name_and_topic_change_together_or_not_at_all(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        head = (await alice.say("room:role", roomId=room, userId="bob", role="moderator"))["seq"]
        assert await code(bob, "room:update", roomId=room, name="New", topic="Plans") == "not_allowed"
        assert await code(bob, "room:update", roomId=room) == "malformed"
        ack = await alice.say("room:update", roomId=room, name="New", topic="Plans")
        assert ack["seq"] == head + 2
        await bob.until(lambda: bob.events("room:updated", topic="Plans"))
        assert bob.events("room:updated", name="New", userId="alice")
        (listed,) = (await bob.say("room:list"))["rooms"]
        assert (listed["name"], listed["topic"]) == ("New", "Plans")
        again = await alice.say("room:update", roomId=room, name="New", topic="Plans")
        assert again["seq"] == ack["seq"]


async def test_the_same_people_have_one_direct_room_whoever_opens_it_where(nodes: Nodes) -> None:
    one, other = nodes
    async with (
        client(one.url, "alice") as alice,
        client(other.url, "bob") as bob,
        client(other.url, "eve") as eve,
    ):
        wish = {"name": "Us", "visibility": "direct"}
        first, second = await asyncio.gather(
            alice.say("room:create", members=["bob"], **wish),
            bob.say("room:create", members=["alice"], **wish),
        )
        room = first["roomId"]
        assert second["roomId"] == room
        await alice.post(room, "hello")
        await bob.until(lambda: bob.events("message:new", content="hello"))
        assert (await alice.say("room:create", members=["bob", "alice"], **wish))["roomId"] == room
        assert (await alice.say("room:create", members=["bob", "eve"], **wish))["roomId"] != room
        for kind, fields in (
            ("room:invite", {"userId": "eve"}),
            ("room:kick", {"userId": "bob"}),
            ("room:leave", {}),
            ("room:archive", {}),
        ):
            assert await code(alice, kind, roomId=room, **fields) == "not_allowed"
        assert await code(eve, "room:join", roomId=room) == "room_not_found"
        assert await code(eve, "room:create", roomId=room, name="Mine") == "not_allowed"
        assert (
            await code(alice, "room:create", members=[f"user-{n}" for n in range(8)], **wish) == "not_allowed"
        )


async def test_edits_deletions_reactions_and_pins_are_seen_live_and_in_history(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        first, second = [(await alice.post(room, text))["messageId"] for text in ("one", "two")]
        edit = await alice.say("message:edit", roomId=room, messageId=first, content="one, mended")
        await bob.say("message:react", roomId=room, messageId=first, emoji="👍")
        await alice.say("message:react", roomId=room, messageId=first, emoji="👍")
        await alice.say("message:pin", roomId=room, messageId=first)
        deletion = await alice.say("message:delete", roomId=room, messageId=second, reason="mistake")
        await bob.until(lambda: bob.events("message:deleted", messageId=second, explanation="mistake"))
        assert bob.events("message:edited", messageId=first, content="one, mended", userId="alice")
        assert [event["userId"] for event in bob.events("message:reaction", emoji="👍", added=True)] == [
            "bob",
            "alice",
        ]
        assert bob.events("message:pinned", messageId=first, pinned=True)
        page = (await bob.say("message:history", roomId=room))["messages"]
        assert [(it["content"], it.get("editedAt"), it.get("deletedAt")) for it in page] == [
            ("one, mended", edit["at"], None),
            (None, None, deletion["at"]),
        ]
        assert page[0]["reactions"] == [
            {"emoji": "👍", "count": 2, "userIds": ["bob", "alice"], "mine": True}
        ]
        assert page[0]["pinned"] is True
        async with client(one.url, "bob") as again:
            await again.join(room)
            (joined,) = again.events("message:history", roomId=room)
        assert [message.get("pinned", False) for message in joined["messages"]] == [True, False]
        (listed,) = (await bob.say("room:list"))["rooms"]
        assert (listed["unread"], listed["lastMessage"]["content"]) == (1, None)


async def test_what_may_not_be_done_to_a_message(nodes: Nodes) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = await room_of(alice, "bob")
        await listening(bob, room)
        hers, his = (await alice.post(room, "hers"))["messageId"], (await bob.post(room, "his"))["messageId"]
        edit: dict[str, Any] = {"roomId": room, "messageId": hers}
        assert await code(bob, "message:edit", **edit, content="x") == "not_allowed"
        assert await code(alice, "message:edit", roomId=room, messageId=his, content="x") == "not_allowed"
        assert await code(bob, "message:delete", **edit) == "not_allowed"
        assert await code(bob, "message:pin", **edit) == "not_allowed"
        assert await code(alice, "message:edit", **edit, content="  ") == "empty_message"
        assert await code(alice, "message:edit", **edit, content="\u200b\u2800") == "empty_message"
        assert await code(alice, "message:edit", **edit, content="x" * 10_001) == "message_too_long"
        assert await code(alice, "message:edit", **edit, content="<script>1</script>") == "unsafe_content"
        for number in (1, 999):
            for kind, more in (
                ("message:react", {"emoji": "👍"}),
                ("message:delete", {}),
                ("message:pin", {}),
            ):
                assert await code(alice, kind, roomId=room, messageId=number, **more) == "message_not_found"
        await alice.say("message:delete", roomId=room, messageId=his)
        for kind, more in (
            ("message:edit", {"content": "x"}),
            ("message:delete", {}),
            ("message:react", {"emoji": "👍"}),
            ("message:unreact", {"emoji": "👍"}),
            ("message:pin", {}),
        ):
            assert await code(alice, kind, roomId=room, messageId=his, **more) in (
                "message_deleted",
                "not_allowed",
            )
        assert await contents(bob, room) == ["hers", None]


@pytest.mark.parametrize("posts", [3, 400], ids=["remembered", "read from the log"])
async def test_deleted_words_are_not_sent_to_whoever_comes_later(nodes: Nodes, posts: int) -> None:
    async with client(nodes[0].url, "alice") as alice, client(nodes[0].url, "bob") as bob:
        room = await room_of(alice, "bob")
        secret = (await alice.post(room, "a slip"))["messageId"]
        await alice.say("message:edit", roomId=room, messageId=secret, content="a worse slip")
        for number in range(posts):
            await alice.post(room, f"{number}")
        await alice.say("message:delete", roomId=room, messageId=secret)
        await bob.until(lambda: bob.events("message:deleted"))
        for node in nodes:
            async with client(node.url, "bob", {room: 0}) as late:
                await late.until(lambda: late.events("message:deleted"))
                assert late.seqs(room) == list(range(1, late.seqs(room)[-1] + 1))
                assert not any("slip" in json.dumps(event) for event in late.heard)
                assert late.events("message:new", messageId=secret, content=None)
                assert late.events("message:edited", messageId=secret, content=None)


@pytest.mark.parametrize("projected", [False, True])
async def test_who_left_sees_messages_as_they_were_then_but_for_deleted_ones(
    nodes: Nodes, database: Database, *, projected: bool
) -> None:
    async with client(nodes[0].url, "alice") as alice, client(nodes[1].url, "bob") as bob:
        room = await room_of(alice, "bob")
        kept, slip = [(await alice.post(room, text))["messageId"] for text in ("kept", "slip")]
        await alice.say("message:edit", roomId=room, messageId=kept, content="kept, mended")
        await bob.say("room:leave", roomId=room)
        await alice.say("message:edit", roomId=room, messageId=kept, content="about bob")
        await alice.say("message:react", roomId=room, messageId=kept, emoji="🤫")
        await alice.say("message:pin", roomId=room, messageId=kept)
        await alice.say("message:delete", roomId=room, messageId=slip)
        if projected:
            await _project(database)
        page = (await bob.say("message:history", roomId=room))["messages"]
        assert [message["content"] for message in page] == ["kept, mended", None]
        assert "reactions" not in page[0]
        assert "pinned" not in page[0]
        assert "deletedAt" in page[1]


async def _project(database: Database) -> None:
    env = environment(database)
    async with running(env, "project", "run"), asyncio.timeout(60):
        while (await run(env, "project", "status"))[1].count('"behind":0') < 4:
            await asyncio.sleep(0.2)


async def test_an_edit_and_a_deletion_at_once_have_one_order(nodes: Nodes, database: Database) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "mona") as mona:
        room = await room_of(alice, "mona")
        await listening(mona, room)
        await alice.say("room:role", roomId=room, userId="mona", role="moderator")
        for _ in range(10):
            number = (await alice.post(room, "first"))["messageId"]
            answers = await asyncio.gather(
                alice.say("message:edit", roomId=room, messageId=number, content="then"),
                mona.say("message:delete", roomId=room, messageId=number),
                alice.say("message:delete", roomId=room, messageId=number),
                mona.say("message:react", roomId=room, messageId=number, emoji="👍"),
                return_exceptions=True,
            )
            refused = [answer.code for answer in answers if isinstance(answer, Refused)]
            assert set(refused) == {"message_deleted"}
            assert sum(isinstance(answer, dict) for answer in answers[1:3]) == 1, "it is deleted once"
        last: dict[int, str] = {}
        for line in await _replay(database, room):
            if "message" in line:
                assert last.get(line["message"]) != "MessageDeleted", line
                last[line["message"]] = line["type"]
        assert set(last.values()) == {"MessageDeleted"}


async def test_nothing_is_refused_before_its_ref_was_looked_up(nodes: Nodes) -> None:
    async with client(nodes[0].url, "alice") as alice:
        room = await room_of(alice)
        first = await alice.post(room, "fine", ref="used")
        assert await code(alice, "message:send", roomId=room, content="", ref="used") == "ref_conflict"
        assert await code(alice, "message:send", roomId=room, content="", ref="unused") == "empty_message"
        await alice.say("room:archive", roomId=room)
        assert await alice.post(room, "fine", ref="used") == first


async def test_the_record_has_it_all(nodes: Nodes, database: Database) -> None:
    async with client(nodes[0].url, "alice") as alice, client(nodes[1].url, "bob") as bob:
        room = await room_of(alice, "bob")
        first = (await alice.post(room, "first words"))["messageId"]
        await alice.say("message:edit", roomId=room, messageId=first, content="second words")
        await bob.say("message:react", roomId=room, messageId=first, emoji="👍")
        await alice.say("message:pin", roomId=room, messageId=first)
        await alice.say("message:delete", roomId=room, messageId=first, reason="a slip")
        await alice.say("room:update", roomId=room, topic="Plans")
        await alice.say("room:ban", roomId=room, userId="bob", until="2099-01-01T00:00:00Z", reason="noise")
        lines = await _replay(database, room)
    told = [
        {name: line[name] for name in line if name not in ("seq", "position", "at")} for line in lines[4:]
    ]
    assert told == [
        {"type": "MessageEdited", "by": "alice", "message": first, "content": "second words"},
        {"type": "ReactionAdded", "by": "bob", "message": first, "emoji": "👍"},
        {"type": "MessagePinned", "by": "alice", "message": first},
        {"type": "MessageUnpinned", "by": "alice", "message": first},
        {"type": "MessageDeleted", "by": "alice", "message": first, "reason": "a slip"},
        {"type": "RoomTopicChanged", "by": "alice", "topic": "Plans"},
        {
            "type": "MemberBanned",
            "by": "alice",
            "user": "bob",
            "until": "2099-01-01T00:00:00.000000Z",
            "reason": "noise",
        },
    ]
    assert lines[3]["content"] == "first words"


async def test_the_forms_of_an_emoji_are_one_reaction(nodes: Nodes) -> None:
    one, other = nodes
    plain, heart = "\u2764", "\u2764\ufe0f"
    async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
        room = (await alice.say("room:create", name="Room", members=["bob"]))["roomId"]
        about = {"roomId": room, "messageId": (await alice.post(room, "hello"))["messageId"]}
        await alice.say("message:react", **about, emoji=plain)
        await bob.say("message:react", **about, emoji=heart)
        assert await code(bob, "message:react", **about, emoji="ab") == "malformed"
        await alice.until(lambda: len(alice.events("message:reaction", emoji=heart, added=True)) == 2)
        (shown,) = (await alice.say("message:history", roomId=room))["messages"][0]["reactions"]
        assert shown == {"emoji": heart, "count": 2, "userIds": ["alice", "bob"], "mine": True}
        await bob.say("message:unreact", **about, emoji=plain)
        (left,) = (await bob.say("message:history", roomId=room))["messages"][0]["reactions"]
        assert (left["userIds"], left["mine"]) == (["alice"], False)


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
        await bob.until(lambda: len(bob.events("message:pinned", messageId=said[0], pinned=True)) == 2)
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
