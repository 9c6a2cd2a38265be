"""Any subject of OpenID Connect is a user id: at every endpoint, in every command, path, export and audit."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from service.domain.streams import direct_room
from service.embedded import Servers
from tests.support.audit.proof import all_sealed, offline
from tests.support.clients.native import Client, Refused, client
from tests.support.clients.speakers import DOORS, Ended, at
from tests.support.clients.subjects import INVALID, SUBJECTS, segment
from tests.support.environment import environment
from tests.support.http.audits import visitor
from tests.support.http.openapi import promised, reader
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database
from tests.support.waiting import projected

VIEW, MEMBERS = "/audit/people/{userId}/view", "/api/rooms/{roomId}/members"


@asynccontextmanager
async def furnished(*nodes: Process) -> AsyncIterator[tuple[Client, dict[str, Client]]]:
    """Give the owner of a private room, and its members, who are connected to the last node."""
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(client(nodes[0].url, "owner"))
        fields = {"name": "General", "visibility": "private", "members": list(SUBJECTS)}
        await owner.say("room:create", roomId="general", **fields)
        people = {
            user: await stack.enter_async_context(client(nodes[-1].url, user, rooms={"general": 0}))
            for user in SUBJECTS
        }
        yield owner, people


async def heard(client: Client, kind: str, **fields: Any) -> None:
    """Wait until a client has received an event with these fields."""
    await client.until(lambda: client.events(kind, **fields))


@pytest.mark.parametrize("door", DOORS)
async def test_every_subject_enters_at_every_door(node: Process, door: str) -> None:
    for user in SUBJECTS:
        async with at(door, node, user) as speaker:
            assert await speaker.say("room:join", roomId="general") == "", user
            assert await speaker.say("message:send", roomId="general", content="x", mentions=[user]) == ""
    for user in INVALID:
        with pytest.raises(Ended) as ended:
            async with at(door, node, user):
                pass
        assert ended.value.args[0] in (4500, "token_invalid"), user
    async with at(door, node, "owner") as owner:
        assert {await owner.say("user:block", userId=user) for user in INVALID} == {"malformed"}


async def test_every_subject_takes_part(database: Database, servers: Servers) -> None:
    async with (
        two_nodes(database, servers, ONRECORD_JOIN_CREATES="false") as nodes,
        furnished(*nodes) as (owner, people),
    ):
        page = await owner.say("room:members", roomId="general")
        assert [each["userId"] for each in page["members"]] == sorted((*SUBJECTS, "owner"))
        rooms = set()
        for number, (user, speaker) in enumerate(people.items()):
            other = SUBJECTS[number - 1]
            ack = await speaker.post("general", f"hello @{other}", mentions=[other])
            assert "dropped" not in ack, user
            message = {"roomId": "general", "messageId": ack["messageId"]}
            await heard(owner, "message:new", userId=user, mentions=[other], **message)
            await speaker.say("message:read", **message)
            await heard(owner, "message:read", userId=user, **message)
            await speaker.say("typing:start", roomId="general")
            await heard(owner, "typing:start", userId=user)
            await owner.say("message:react", emoji=":ok:", **message)
            await people[other].say("message:react", emoji=":ok:", **message)
            await people[other].say("message:report", reason="spam", **message)
            made = await owner.say("room:create", name="x", visibility="direct", members=[user])
            assert made["roomId"] == direct_room(["owner", user])
            rooms.add(made["roomId"])
            await speaker.say("message:send", roomId=made["roomId"], content="only us")
        assert len(rooms) == len(SUBJECTS)
        history = await owner.say("message:history", roomId="general", limit=200)
        reactions = {each["userId"]: each["reactions"][0]["userIds"] for each in history["messages"]}
        assert reactions == {user: ["owner", SUBJECTS[n - 1]] for n, user in enumerate(SUBJECTS)}
        reports = (await owner.say("report:list", roomId="general", limit=100))["reports"]
        assert {each["userId"] for each in reports} == set(SUBJECTS)


async def test_every_subject_can_be_governed_and_blocked(database: Database, servers: Servers) -> None:
    async with (
        two_nodes(database, servers, ONRECORD_JOIN_CREATES="false") as nodes,
        furnished(*nodes) as (owner, people),
    ):
        for user, speaker in people.items():
            target = {"roomId": "general", "userId": user}
            await owner.say("room:mute", **target)
            await heard(owner, "room:member_updated", userId=user, muted=True)
            with pytest.raises(Refused, match="muted"):
                await speaker.post("general", "hello")
            await owner.say("room:unmute", **target)
            await owner.say("room:role", role="moderator", **target)
            await heard(owner, "room:member_updated", userId=user, role="moderator")
            await owner.say("room:kick", **target)
            await heard(speaker, "room:user_left", userId=user, reason="kicked")
            await owner.say("room:invite", **target)
            await heard(speaker, "room:invited", roomId="general")
            await speaker.join("general")
            await owner.say("room:ban", **target)
            with pytest.raises(Refused, match=r"banned|room_not_found"):
                await speaker.say("room:join", roomId="general")
            with pytest.raises(Refused) as refused:
                await owner.say("room:invite", **target)
            assert user in refused.value.error["message"]
            await owner.say("room:unban", **target)
            await owner.say("user:block", userId=user)
        blocked = (await owner.say("user:blocks"))["userIds"]
        assert blocked == sorted(SUBJECTS)
        for before, user in pairwise(blocked):
            assert (await owner.say("user:blocks", after=before, limit=1))["userIds"] == [user]
        for user in SUBJECTS:
            await owner.say("user:unblock", userId=user)
        assert (await owner.say("user:blocks"))["userIds"] == []


async def test_every_subject_is_read_and_judged_over_http(node: Process) -> None:
    async with furnished(node) as (_, people):
        for user, speaker in people.items():
            await speaker.post("general", f"of {user}")
        async with reader(node, "owner") as http:
            paged: list[str] = []
            after: dict[str, str] = {}
            while len(paged) <= len(SUBJECTS):
                answer = await http.get("/api/rooms/general/members", params={"limit": 1, **after})
                (member,) = promised(answer, MEMBERS)["members"]
                paged.append(member["userId"])
                after = {"after": member["userId"]}
            assert paged == sorted((*SUBJECTS, "owner"))
        async with visitor(node, "auditor", "auditor") as auditor, visitor(node, "admin", "admin") as admin:
            for user, speaker in people.items():
                answer = await auditor.get(f"/audit/people/{segment(user)}/view", params={"room": "general"})
                view = promised(answer, VIEW)
                assert (view["userId"], view["standing"]["role"]) == (user, "member")
                answer = await auditor.get("/audit/events", params={"person": user})
                lines = [json.loads(line) for line in answer.text.splitlines()]
                assert [each["content"] for each in lines if each["type"] == "MessagePosted"] == [
                    f"of {user}"
                ]
                async with reader(node, user) as http:
                    own = (await http.get("/api/me/export")).text
                assert [line["by"] for line in map(json.loads, own.splitlines()) if line.get("content")] == [
                    user
                ]
                path = f"/admin/people/{segment(user)}"
                judged = await admin.post(f"{path}/suspend", json={"reason": "x"})
                assert judged.json() == {"userId": user, "suspended": True}
                assert await speaker.closed() == 4503
                judged = await admin.post(f"{path}/restore", json={"reason": "x"})
                assert judged.json() == {"userId": user, "suspended": False}
                erased = await admin.post(f"{path}/erase", json={"ground": "asked"})
                assert erased.json()["userId"] == user, erased.text


@pytest.mark.usefixtures("projector")
async def test_every_subject_is_on_the_record(node: Process, database: Database, tmp_path: Path) -> None:
    env = environment(database)
    async with furnished(node) as (_, people):
        for user, speaker in people.items():
            await speaker.post("general", f"of {user}")
    await projected(database)
    await all_sealed(database)
    code, text, _ = await run(env, "audit", "replay", "--room", "general", "--as", "text")
    assert code == 0
    for number, user in enumerate(SUBJECTS):
        place = tmp_path / f"{number}"
        target = (f"--person={user}",)
        assert f"  {user}  message posted: author={json.dumps(user)}" in text
        code, view, words = await run(env, "audit", "person", "--room", "general", "--", user)
        assert (code, code or json.loads(view)["userId"]) == (0, user), words
        code, _, words = await run(env, "audit", "export", "--out", str(place), *target)
        assert code == 0, words
        assert (await offline(str(place)))[0] == 0
        for command in ("hold", "release"):
            code, line, words = await run(env, "audit", command, *target, "--ground", "case 7")
            assert (code, code or json.loads(line)["person"]) == (0, user), words
        code, line, words = await run(env, "audit", "erase", *target, "--ground", "asked")
        assert (code, code or json.loads(line)["person"]) == (0, user), words
        assert json.loads(line)["left"] == 1
    await projected(database)
    code, listed, _ = await run(env, "audit", "erasures")
    assert [json.loads(line)["person"] for line in listed.splitlines()] == list(SUBJECTS)
    (tmp_path / "list").write_text(listed)
    code, _, words = await run(env, "audit", "erase-again", str(tmp_path / "list"))
    assert code == 0, words
    await all_sealed(database)
    assert (await run(env, "audit", "verify", "--words"))[0] == 0
    code, report, _ = await run(env, "project", "verify")
    assert code == 0, report


async def test_commands_refuse_names_of_other_authors(database: Database) -> None:
    for user in INVALID:
        code, _, words = await run(
            environment(database), "audit", "erase", f"--person={user}", "--ground", "g"
        )
        assert code == 2, user
        assert "is not a user id" in words
