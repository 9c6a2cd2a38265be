"""Names as users see them: in the form of RFC 8266, cleaned where they come from a token or from an earlier version."""

import base64
from typing import Any

from service.domain.events import MemberJoined, PersonNamed, RoomOpened, RoomTopicChanged
from service.domain.streams import person_stream
from tests.support.chat.actions import refusal
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, message, node
from tests.support.http.audits import visitor
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

FAMILY = "👩‍👩‍👧‍👦"
DIRTY, CLEAN = f"\u202e  A\u200bnn {FAMILY}\t\u2066 Lee ", f"Ann {FAMILY} Lee"


async def test_the_name_in_a_token_is_cleaned_and_never_refused(node: Process) -> None:
    async with client(node.url, "alice", name=DIRTY) as alice, client(node.url, "bob", name="\u200b") as bob:
        await alice.join("general")
        await bob.join("general")
        await alice.until(lambda: alice.events("room:user_joined", userId="bob", name="bob"))
        await alice.post("general", "hello")
        await bob.until(lambda: bob.events("message:new", name=CLEAN))
        (members,) = bob.events("room:members")
        assert [each["name"] for each in members["members"]] == [CLEAN, "bob"]
    async with visitor(node, "auditor", "auditor") as http:
        lines = (await http.get("/audit/events?type=PersonNamed")).text.splitlines()
    assert CLEAN in lines[0]
    async with client(node.url, "alice", name=DIRTY) as alice:
        await alice.say("room:list")
    async with visitor(node, "auditor", "auditor") as http:
        again = (await http.get("/audit/events?type=PersonNamed")).text.splitlines()
    assert again == lines, "the same name is recorded once"


async def test_a_room_has_a_name_in_the_form_of_the_profile_or_is_refused(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        named: dict[str, Any] = {"name": f"  Project\u00a0  {FAMILY} ", "roomId": "project"}
        await alice.say("room:create", **named)
        await alice.say("room:join", roomId="project")
        await alice.say("room:update", roomId="project", topic="  One  line\n  two  \u202elines")
        await alice.until(lambda: alice.events("room:updated", topic="One line\n  two  \u202elines"))
        (listed,) = (await alice.say("room:list"))["rooms"]
        assert (listed["name"], listed["topic"]) == (f"Project {FAMILY}", "One line\n  two  \u202elines")
        for kind, fields in (("room:create", {}), ("room:update", {"roomId": "project"})):
            wrong = await refusal(alice, kind, name="Pro\u202eject", **fields)
            assert wrong["code"] == "malformed"
            assert "U+202E RIGHT-TO-LEFT OVERRIDE" in wrong["message"]
            assert "$.name" in wrong["message"]
        wrong = await refusal(alice, "room:update", roomId="project", topic="a\u200bb")
        assert wrong["code"] == "malformed"
        assert "$.topic" in wrong["message"]
        await alice.say("room:update", roomId="project", name=f"Project {FAMILY}", topic="")
        await alice.until(lambda: alice.events("room:updated", topic=None))


async def test_stored_names_are_shown_cleaned_and_audited_as_stored(
    database: Database,
) -> None:
    async with node(database) as before:
        await before.append(PersonNamed(user="bob", name=DIRTY), stream=person_stream("bob"), by="bob")
        opened = RoomOpened(name=DIRTY, visibility="public"), MemberJoined(user="bob", role="owner")
        await before.append(
            *opened, RoomTopicChanged(topic=f"{DIRTY}\n\u202eover"), message("hello", author="bob")
        )
    key = base64.b64encode(KEY_ENCRYPTION_KEY).decode()
    async with running(environment(database, ONRECORD_KEY_ENCRYPTION_KEY=key), "serve") as server:
        async with client(server.url, "alice") as alice, client(server.url, "bob") as bob:
            await alice.say("room:join", roomId="general", after=0)
            await alice.until(lambda: alice.events("message:new"))
            assert [each["name"] for each in alice.events("room:created")] == [CLEAN]
            assert [each["topic"] for each in alice.events("room:updated")] == [f"{CLEAN}\n\u202eover"]
            assert [each["name"] for each in alice.events("message:new")] == [CLEAN]
            listed = (await bob.say("room:list"))["rooms"]
            assert [(each["name"], each["topic"]) for each in listed] == [(CLEAN, f"{CLEAN}\n\u202eover")]
            history = await alice.say("message:history", roomId="general")
            assert [each["name"] for each in history["messages"]] == [CLEAN]
        async with visitor(server, "alice", "chat") as http:
            assert (await http.get("/api/rooms")).json()["rooms"][0]["name"] == CLEAN
            assert (await http.get("/api/rooms/general")).json()["name"] == CLEAN
        async with visitor(server, "auditor", "auditor") as http:
            shown = (await http.get("/audit/rooms/general")).json()
            people = {each["userId"]: each.get("name") for each in shown["members"]}
            assert (shown["settings"]["name"], people["bob"]) == (DIRTY, DIRTY)
