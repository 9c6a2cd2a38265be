"""Messages and reactions over the wire: sent, retried, paged, read and counted."""

import asyncio
import random
from functools import partial

import httpx
import pytest

from service.embedded import Servers
from tests.support.chat.actions import code
from tests.support.clients.native import Client, Event, Refused, client
from tests.support.environment import environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

CROWD = [f"user-{number:03}" for number in range(100)]
"""As many users as a reaction lists."""


def own_reactions(event: Event) -> list[bool]:
    return [one["mine"] for message in event["messages"] for one in message.get("reactions", [])]


async def own_of(reader: Client) -> list[bool]:
    return own_reactions(await reader.say("message:history", roomId="general"))


async def test_everybody_in_the_room_gets_a_message_once_and_in_order(node: Process) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        ack = await alice.post("general", "hello", ref="r-1")
        assert ack["messageId"] == ack["seq"] == 4
        await bob.until(lambda: bob.events("message:new"))
        heard = bob.events("message:new")[0]
        assert heard == {
            "type": "message:new", "roomId": "general", "seq": 4, "messageId": 4, "userId": "alice", "name": "Alice",
            "content": "hello", "at": ack["at"],
        }  # fmt: skip
        await alice.until(lambda: alice.events("message:new"))
        assert alice.events("message:new")[0] == {**heard, "ref": "r-1"}


async def test_text_comes_back_as_it_was_sent(node: Process) -> None:
    texts = [
        "a < b && c > d",
        "<3",
        "&lt;b&gt;",
        "<b>bold</b>",
        "\u202eright to left",
        "👩‍👩‍👧",
        "tab\tand\nline",
        "x" * 10_000,
    ]
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for text in texts:
            await alice.post("general", text)
        await alice.until(lambda: len(alice.events("message:new")) == len(texts))
        assert [event["content"] for event in alice.events("message:new")] == texts
        page = await alice.say("message:history", roomId="general")
        assert [one["content"] for one in page["messages"]] == texts


async def test_a_retry_has_one_effect_and_the_same_ack(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "alice") as phone:
        await alice.join("general")
        first = await alice.post("general", "once", ref="once")
        acks = await asyncio.gather(
            *(phone.post("general", "once", ref="once") for _ in range(1)),
            alice.post("general", "once", ref="once"),
        )
        assert all(ack == first for ack in acks)
        with pytest.raises(Refused, match="ref_conflict"):
            await alice.post("general", "twice", ref="once")
        page = await alice.say("message:history", roomId="general")
        assert [one["content"] for one in page["messages"]] == ["once"]


async def test_a_retry_is_answered_though_the_sender_has_left_since(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        first = await bob.post("general", "goodbye", ref="bye")
        await bob.say("room:leave", roomId="general")
        assert await bob.post("general", "goodbye", ref="bye") == first


async def test_a_reply_names_a_message_of_the_same_room(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        first = await alice.post("general", "question")
        await alice.post("general", "answer", replyTo=first["messageId"], mentions=["alice", "bob", "bob"])
        await alice.until(lambda: alice.events("message:new", content="answer"))
        event = alice.events("message:new", content="answer")[0]
        assert (event["replyTo"], event["mentions"]) == (first["messageId"], ["alice", "bob"])
        for wrong in (1, 999):
            with pytest.raises(Refused, match="message_not_found"):
                await alice.post("general", "to nothing", replyTo=wrong)


async def test_mentions_of_outsiders_are_dropped_and_named_in_the_ack(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        named = ["bob", "nobody", "bob", "carol", "nobody"]
        first = await alice.post("general", "hello", ref="names", mentions=named)
        assert first["dropped"] == ["nobody", "carol"]
        await bob.until(lambda: bob.events("message:new"))
        assert bob.events("message:new")[0]["mentions"] == ["bob"]
        await bob.say("room:leave", roomId="general")
        assert await alice.post("general", "hello", ref="names", mentions=named) == first, "a retry"
        alone = await alice.post("general", "to nobody", mentions=["bob"])
        assert alone["dropped"] == ["bob"]
        await alice.until(lambda: alice.events("message:new", content="to nobody"))
        assert "mentions" not in alice.events("message:new", content="to nobody")[0]
        assert "dropped" not in await alice.post("general", "to alice", mentions=["alice"])


async def test_mentions_are_bounded_by_the_setting(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_MAX_MENTIONS="2"), "serve") as node,
        client(node.url, "alice") as alice,
    ):
        await alice.join("general")
        assert (await alice.post("general", "two", mentions=["alice", "bob", "alice"]))["dropped"] == ["bob"]
        with pytest.raises(Refused, match="malformed"):
            await alice.post("general", "three", mentions=["alice", "bob", "carol"])


@pytest.mark.usefixtures("projector")
async def test_history_pages_both_ways_without_hole_or_double(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        sent = [(await alice.post("general", f"{number}"))["messageId"] for number in range(23)]
        found: list[int] = []
        more = True
        while more:
            before = {"before": found[0]} if found else {}
            page = await alice.say("message:history", roomId="general", limit=5, **before)
            found = [one["messageId"] for one in page["messages"]] + found
            more = page["hasMore"]
        assert found == sent
        found, more = [], True
        while more:
            page = await alice.say(
                "message:history", roomId="general", limit=5, after=found[-1] if found else 0
            )
            found += [one["messageId"] for one in page["messages"]]
            more = page["hasMore"]
        assert found == sent
        default = await alice.say("message:history", roomId="general")
        assert (len(default["messages"]), default["hasMore"]) == (23, False)


async def test_history_is_as_new_as_the_ack_though_no_projector_runs(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for number in range(20):
            ack = await alice.post("general", f"{number}")
            page = await alice.say("message:history", roomId="general", limit=1)
            assert page["messages"][0]["messageId"] == ack["messageId"]


async def test_markers_move_forward_only_and_everybody_hears(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        first, second = [(await alice.post("general", text))["messageId"] for text in ("one", "two")]
        ack = await bob.say("message:read", roomId="general", messageId=second)
        assert ack["seq"] == 1
        await alice.until(
            lambda: alice.events("message:read", userId="bob", messageId=second, roomId="general")
        )
        backward = await bob.say("message:read", roomId="general", messageId=first)
        assert backward["seq"] == 1
        assert len(alice.events("message:read")) == 1
        with pytest.raises(Refused, match="message_not_found"):
            await bob.say("message:read", roomId="general", messageId=999)
        async with client(node.url, "carol") as carol:
            await carol.join("general")
            assert carol.events("room:receipts")[0]["receipts"] == [
                {"userId": "bob", "messageId": second, "at": ack["at"]}
            ]


async def test_a_burst_of_reads_is_one_event_a_second_and_each_is_acked(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        sent = [(await alice.post("general", f"{number}"))["messageId"] for number in range(10)]
        acks = await asyncio.gather(
            *(bob.say("message:read", roomId="general", messageId=number) for number in sent)
        )
        assert len(acks) == 10
        await alice.until(lambda: alice.events("message:read", messageId=sent[-1]))
        assert len(alice.events("message:read")) < 5
        again = await bob.say("message:read", roomId="general", messageId=sent[0], ref=acks[0]["ref"])
        assert again == acks[0]


@pytest.mark.usefixtures("projector")
async def test_unread_counts_agree_with_an_oracle(node: Process) -> None:
    chance = random.Random(7)
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        people = {"alice": alice, "bob": bob}
        for one in people.values():
            await one.join("general")
        said: list[tuple[int, str, bool]] = []
        marker = dict.fromkeys(people, 0)
        for _ in range(60):
            name = chance.choice(["alice", "bob"])
            if said and chance.random() < 0.2:
                number = chance.choice(said)[0]
                await people[name].say("message:read", roomId="general", messageId=number)
                marker[name] = max(marker[name], number)
            else:
                mention = chance.random() < 0.3
                other = "bob" if name == "alice" else "alice"
                ack = await people[name].post("general", "x", **({"mentions": [other]} if mention else {}))
                said.append((ack["messageId"], name, mention))
            for reader, one in people.items():
                unread = [entry for entry in said if entry[0] > marker[reader] and entry[1] != reader]
                summary = (await one.say("room:list"))["rooms"][0]
                expected = (len(unread), sum(entry[2] for entry in unread), marker[reader])
                assert (summary["unread"], summary["mentions"], summary["lastRead"]) == expected
                assert summary["lastMessage"] is None or summary["lastMessage"]["messageId"] == said[-1][0]


async def test_a_reaction_past_the_first_100_users_is_still_the_readers_own(
    database: Database, servers: Servers
) -> None:
    async with (
        two_nodes(database, servers) as (one, other),
        client(one.url, "alice") as alice,
        client(one.url, "zoe") as zoe,
        client(other.url, "zoe") as tablet,
    ):
        for reader in (alice, zoe, tablet):
            await reader.join("general")
        about = {"roomId": "general", "messageId": (await alice.post("general", "Who?"))["messageId"]}
        for user in CROWD:
            async with client(one.url, user) as person:
                await person.join("general")
                await person.say("message:react", emoji="👍", **about)
        await zoe.say("message:react", emoji="👍", **about)
        (shown,) = (await zoe.say("message:history", roomId="general"))["messages"][0]["reactions"]
        assert (shown["count"], shown["userIds"], shown["mine"]) == (101, CROWD, True)
        for device in (zoe, tablet):
            own = {"userId": "zoe", "mine": True, "added": True}
            await device.until(partial(device.events, "message:reaction", **own))
            others = [each for each in device.events("message:reaction") if each["userId"] != "zoe"]
            assert len(others) == 100
            assert not [each for each in others if "mine" in each]
            assert await own_of(device) == [True]
            (room,) = (await device.say("room:list"))["rooms"]
            assert own_reactions({"messages": [room["lastMessage"]]}) == [True]
        await alice.until(lambda: alice.events("message:reaction", userId="zoe"))
        assert not [each for each in alice.events("message:reaction") if "mine" in each]
        assert await own_of(alice) == [False]
        async with client(other.url, "zoe") as late:
            await late.join("general", after=0)
            assert own_reactions(late.events("message:history")[0]) == []
            await late.until(lambda: late.events("message:reaction", userId="zoe", mine=True))
            assert len(late.events("message:reaction")) == 101
        async with client(other.url, "zoe") as again:
            await again.join("general")
            assert own_reactions(again.events("message:history")[0]) == [True]
        for user, expected in (("alice", False), ("zoe", True)):
            async with httpx.AsyncClient(base_url=one.address) as http:
                authorization = {"Authorization": f"Bearer {token(user)}"}
                answer = await http.get("/api/rooms/general/messages", headers=authorization)
            assert own_reactions(answer.json()) == [expected]
        await zoe.say("message:unreact", emoji="👍", **about)
        for device in (zoe, tablet):
            await device.until(partial(device.events, "message:reaction", mine=False, added=False))
            assert await own_of(device) == [False]


@pytest.mark.parametrize("markup", ["<script>", "<img src=x onerror=alert(1)>"])
async def test_markup_in_code_is_text_in_posts_and_edits(node: Process, markup: str) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for content in (f"use `{markup}`", f"```html\n{markup}\n```"):
            posted = (await alice.post("general", content))["messageId"]
            fields = {"roomId": "general", "messageId": posted}
            await alice.say("message:edit", **fields, content=f"or\n{content}")
            assert await code(alice, "message:edit", **fields, content=f"`x` {markup}") == "unsafe_content"
        hidden = '<img title="`" onerror=alert(1) x="`">'
        assert await code(alice, "message:send", roomId="general", content=hidden) == "unsafe_content"
