"""Rooms over the wire: opened, joined, left, listed, and who may see what."""

import json
from typing import Any

import pytest

from tests.support.clients.native import Client, Refused, client
from tests.support.environment import environment
from tests.support.http.openapi import promised, reader
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.waiting import projected


async def test_joining_is_heard_by_those_inside_and_by_the_joiner(node: Process) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob", name="Bob") as bob:
        ack = await alice.join("general")
        assert ack["seq"] == ack["head"] == 2
        assert ack["epoch"] == alice.connected["epoch"]
        await alice.until(
            lambda: alice.events("room:user_joined", userId="alice", role="owner", name="Alice")
        )
        assert alice.events("room:created", roomId="general")
        await bob.join("general")
        await alice.until(lambda: alice.events("room:user_joined", userId="bob", role="member", name="Bob"))
        await bob.until(lambda: bob.events("room:user_joined", userId="bob"))
        assert alice.seqs("general") == [1, 2, 3]
        assert bob.seqs("general") == [3]


async def test_joiner_gets_members_receipts_and_history_before_live_events(node: Process) -> None:
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        for number in range(60):
            await alice.post("general", f"message {number}")
        await bob.join("general")
        await bob.until(lambda: bob.events("room:user_joined", userId="bob"))
        kinds = [event["type"] for event in bob.heard if event["type"] != "connected"]
        assert kinds == ["ack", "room:members", "room:receipts", "message:history", "room:user_joined"]
        members = bob.events("room:members")[0]["members"]
        assert [(one["userId"], one["name"], one["role"], one["status"]) for one in members] == [
            ("alice", "Alice", "owner", "online"),
            ("bob", "bob", "member", "online"),
        ]
        history = bob.events("message:history")[0]
        assert [one["content"] for one in history["messages"]] == [
            f"message {number}" for number in range(10, 60)
        ]
        assert history["hasMore"] is True


async def test_joining_twice_changes_nothing_and_is_acked_with_the_present_seq(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        first = await alice.join("general")
        again = await alice.say("room:join", roomId="general")
        assert again["seq"] == first["seq"] == 2
        await alice.post("general", "hello")
        await alice.until(lambda: alice.events("message:new"))
        assert alice.seqs("general") == [1, 2, 3]


async def test_where_joining_does_not_open_rooms_a_missing_one_is_not_found(database: Database) -> None:
    async with running(environment(database, ONRECORD_JOIN_CREATES="false"), "serve") as node:
        async with client(node.url, "alice") as alice:
            with pytest.raises(Refused, match="room_not_found"):
                await alice.say("room:join", roomId="general")


async def test_leaving_is_heard_by_all_and_ends_what_the_leaver_hears(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        ack = await bob.say("room:leave", roomId="general")
        left = {"userId": "bob", "reason": "left", "seq": ack["seq"]}
        await alice.until(lambda: alice.events("room:user_left", **left))
        await bob.until(lambda: bob.events("room:user_left", **left))
        await alice.post("general", "bob does not hear this")
        with pytest.raises(Refused, match="not_a_member"):
            await bob.post("general", "nor may he answer")
        assert bob.seqs("general")[-1] == ack["seq"]
        await bob.join("general")
        await bob.until(lambda: bob.events("room:user_joined", userId="bob", seq=ack["seq"] + 2))


async def test_whoever_left_may_read_up_to_their_leave(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        await alice.post("general", "before")
        await bob.say("room:leave", roomId="general")
        await alice.post("general", "after")
        page = await bob.say("message:history", roomId="general")
        assert [one["content"] for one in page["messages"]] == ["before"]
        assert (await bob.say("room:list"))["rooms"] == []


async def test_the_last_owner_hands_the_room_on_by_leaving(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        await alice.say("room:leave", roomId="general")
        await bob.until(lambda: bob.events("room:user_left", userId="alice"))
        assert bob.events("room:member_updated", userId="bob", role="owner")
        assert bob.seqs("general") == [3, 4, 5]


async def test_creating_a_room_tells_its_members(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        ack = await alice.say("room:create", name="Plans", visibility="private", members=["bob", "carol"])
        room = ack["roomId"]
        await bob.until(lambda: bob.events("room:user_joined", roomId=room, userId="carol"))
        assert bob.events("room:created", roomId=room, name="Plans", visibility="private")
        assert bob.seqs(room) == [1, 2, 3, 4]
        await bob.post(room, "found it")
        await alice.until(lambda: alice.events("message:new", roomId=room, content="found it"))
        assert alice.seqs(room) == [1, 2, 3, 4, 5]


async def test_a_room_id_is_taken_once(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        ack = await alice.say("room:create", roomId="plans", name="Plans")
        assert (ack["roomId"], ack["seq"]) == ("plans", 2)
        with pytest.raises(Refused, match="room_exists"):
            await alice.say("room:create", roomId="plans", name="Other plans")
        with pytest.raises(Refused, match="not_allowed"):
            await alice.say("room:create", name="Two of us", visibility="direct", members=[])


async def test_a_retried_creation_is_answered_with_the_same_room(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        first = await alice.say("room:create", name="Plans", ref="create-once")
        second = await alice.say("room:create", name="Plans", ref="create-once")
        assert {**first, "ref": ""} == {**second, "ref": ""}


async def test_a_private_room_and_a_missing_room_look_the_same_to_an_outsider(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "eve") as eve:
        await alice.say("room:create", roomId="secret", name="Secret", visibility="private")
        for kind, fields in (
            ("room:join", {}),
            ("room:leave", {}),
            ("room:members", {}),
            ("message:history", {}),
            ("message:send", {"content": "hello?"}),
            ("message:read", {"messageId": 1}),
            ("message:unread", {"messageId": 1}),
            ("message:pins", {}),
        ):
            answers = []
            for room in ("secret", "nowhere-at-all"):
                if kind == "room:join" and room != "secret":
                    continue  # joining a missing room opens it here
                with pytest.raises(Refused) as refused:
                    await eve.say(kind, roomId=room, **fields)
                answers.append(refused.value.code)
            assert set(answers) == {"room_not_found"}, kind


async def test_members_are_paged_by_user_id(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        members = [f"user-{number:02}" for number in range(25)]
        ack = await alice.say("room:create", name="Many", members=members)
        found: list[str] = []
        more = True
        while more:
            after = {"after": found[-1]} if found else {}
            page = await alice.say("room:members", roomId=ack["roomId"], limit=10, **after)
            found += [one["userId"] for one in page["members"]]
            more = page["hasMore"]
        assert found == ["alice", *members]
        offline = await alice.say("room:members", roomId=ack["roomId"], after="user-00", limit=1)
        assert offline["members"] == [
            {"userId": "user-01", "name": "user-01", "role": "member", "status": "offline", "lastSeen": None}
        ]


async def test_members_come_with_open_invitations_and_the_successor(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob", name="Bob") as bob:
        room = (
            await alice.say("room:create", name="Plans", visibility="private", members=["carol", "dave"])
        )["roomId"]
        for user in ("bob", "erin"):
            await alice.say("room:invite", roomId=room, userId=user)
        await alice.until(lambda: alice.events("room:invited", userId="erin"))
        page = await alice.say("room:members", roomId=room)
        assert page["invited"] == [
            {"userId": "bob", "name": "Bob", "by": "alice"},
            {"userId": "erin", "name": "erin", "by": "alice"},
        ]
        assert page["successor"] == "carol"
        await alice.say("room:role", roomId=room, userId="dave", role="moderator")
        await alice.until(lambda: alice.events("room:member_updated", userId="dave"))
        assert (await alice.say("room:members", roomId=room))["successor"] == "dave"
        assert "invited" not in await alice.say("room:members", roomId=room, after="alice")
        await bob.say("room:leave", roomId=room)  # which declines
        await alice.say("room:kick", roomId=room, userId="erin")  # which withdraws
        await alice.until(lambda: alice.events("room:user_left", userId="erin"))
        assert "invited" not in await alice.say("room:members", roomId=room)
        await alice.say("room:role", roomId=room, userId="carol", role="owner")
        await alice.until(lambda: alice.events("room:member_updated", userId="carol"))
        assert "successor" not in await alice.say("room:members", roomId=room)


async def test_a_room_has_a_name_of_which_something_shows(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.say("room:create", roomId="plans", name="Plans", visibility="public")
        for kind, fields in (("room:create", {"visibility": "public"}), ("room:update", {"roomId": "plans"})):
            with pytest.raises(Refused) as refused:
                await alice.say(kind, name=" \t", **fields)
            assert refused.value.code == "malformed"
            assert "$.name" in refused.value.error["message"]
        assert not alice.events("room:updated")


async def test_a_list_of_ever_so_many_rooms_comes_in_pages_that_fit_into_a_frame(database: Database) -> None:
    most = 40_000
    async with running(environment(database, ONRECORD_MAX_OUTBOX=str(most)), "serve") as node:
        async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
            rooms = [f"r-{number:03}" for number in range(60)]
            asked = [*rooms[1:40:4], *rooms[40:]]
            for room in rooms:
                names = {"roomId": room, "name": "n" * 200, "visibility": "private"}
                members = ["bob"] if room not in asked else []
                await alice.say("room:create", **names, members=members)
                await alice.say("room:update", roomId=room, topic="t" * 1_000)
                if not members:
                    await alice.say("room:invite", roomId=room, userId="bob")
            await alice.post(rooms[0], "x" * 10_000)
            found: list[str] = []
            invited: list[str] = []
            more, pages = True, 0
            while more:
                page = await bob.say("room:list", **({"after": found[-1]} if found else {}))
                assert len(json.dumps(page)) < most
                invited += [one["roomId"] for one in page["invitations"]]
                found += sorted(one["roomId"] for one in (*page["rooms"], *page["invitations"]))
                more, pages = page["hasMore"], pages + 1
            assert found == rooms
            assert pages > 1
            assert invited == asked


DIRECTORY = [
    {"roomId": "plans", "name": "Plans", "topic": None, "members": 1},
    {"roomId": "tea", "name": "Tea", "topic": "Green and black", "members": 2},
]


@pytest.fixture
async def with_directory(node: Process) -> Process:
    """Two rooms in the directory, and three that are not: a private, a direct and an archived one."""
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.say("room:create", roomId="tea", name="Tea")
        await alice.say("room:update", roomId="tea", topic="Green and black")
        await alice.say("room:create", roomId="plans", name="Plans", members=["bob"])
        await alice.say("room:create", roomId="secret", name="Secret tea", visibility="private")
        await alice.say("room:create", name="Two", visibility="direct", members=["bob"])
        await alice.say("room:create", roomId="old", name="Old tea")
        await alice.say("room:archive", roomId="old")
        await bob.join("tea")
        await alice.say("room:kick", roomId="plans", userId="bob")
    return node


async def directory(asking: Client, **fields: object) -> tuple[list[dict[str, Any]], bool, str | None]:
    ack = await asking.say("room:directory", **fields)
    return ack["rooms"], ack["hasMore"], ack["next"]


async def test_the_directory_is_the_same_on_every_door(with_directory: Process) -> None:
    async with client(with_directory.url, "eve") as eve:
        assert await directory(eve) == (DIRECTORY, False, None)
        assert await directory(eve, query="te a") == ([], False, None)
    async with reader(with_directory, "eve") as http:
        path = "/api/directory"
        assert promised(await http.get(path), path) == {"rooms": DIRECTORY, "hasMore": False, "next": None}
        page = promised(await http.get(path, params={"query": "TE", "limit": 1}), path)
        assert page == {"rooms": DIRECTORY[1:], "hasMore": False, "next": None}
        page = promised(await http.get(path, params={"limit": 1}), path)
        assert page == {"rooms": DIRECTORY[:1], "hasMore": True, "next": "plans"}
        page = promised(await http.get(path, params={"after": "plans"}), path)
        assert page["rooms"] == DIRECTORY[1:]


async def test_the_directory_is_the_same_from_the_read_model(
    with_directory: Process, database: Database
) -> None:
    async with running(environment(database), "project", "run"):
        await projected(database)
        async with client(with_directory.url, "eve") as eve:
            assert await directory(eve, query="ea") == (DIRECTORY[1:], False, None)


async def test_a_page_of_the_longest_rooms_fits_into_a_frame(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        for number in range(100):
            room = {"roomId": f"r{number:03}", "name": f"{number:03}" + "\U0001f98a" * 190}
            await alice.say("room:create", **room)
            await alice.say("room:update", roomId=room["roomId"], topic="\U0001f98a" * 1_000)
        found, after = [], dict[str, Any]()
        while True:
            page = await alice.say("room:directory", limit=100, **after)
            assert len(json.dumps(page, ensure_ascii=False).encode()) < 512 * 1024
            found += [room["roomId"] for room in page["rooms"]]
            if not page["hasMore"]:
                break
            after = {"after": page["next"]}
        assert found == [f"r{number:03}" for number in range(100)]
