"""What auditors read over HTTP: with their scope and no other, on the record first, and the same as by command."""

import asyncio
import json
import re
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import yaml

from service.domain.events import EVENTS
from service.gateway.http.audits import MAX_READS
from tests.support.audit.proof import all_sealed
from tests.support.clients.native import Client, Refused, client, raw
from tests.support.environment import ROOT, environment, token
from tests.support.eventstore.log_node import stored
from tests.support.http.audits import ended, readings, visitor
from tests.support.http.openapi import promised
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

ROOM, CHANGES, VIEW = "/audit/rooms/{roomId}", "/audit/rooms/{roomId}/changes", "/audit/people/{userId}/view"
ROOMS = "/audit/people/{userId}/rooms"
READINGS = "/api/rooms/{roomId}/readings"
OF_THE_AUDITOR = (
    "/audit/events",
    "/audit/rooms/general",
    "/audit/rooms/general/changes?from=1",
    "/audit/people/bob/view?room=general",
    "/audit/people/bob/rooms",
)


@pytest.fixture
async def general(node: Process) -> Process:
    """A node with a private room of two: alice posted a message and edited it, bob has read it and is gone again."""
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.say(
            "room:create", roomId="general", name="General", visibility="private", members=["bob"]
        )
        await alice.post("general", "one")
        async with client(node.url, "bob", rooms={"general": 0}) as bob:
            await bob.until(lambda: bob.events("message:new"))
            await bob.say("message:read", roomId="general", messageId=4)
        await alice.say("message:edit", roomId="general", messageId=4, content="two")
    return node


async def test_a_room_a_difference_and_a_view_are_those_of_the_commands(
    general: Process, database: Database
) -> None:
    env = environment(database)
    await ended(database, 2)
    async with visitor(general, "ann", "auditor") as ann:
        for path, template, command in (
            ("/audit/rooms/general?at=4", ROOM, ("room", "general", "--at", "4")),
            ("/audit/rooms/general", ROOM, ("room", "general")),
            ("/audit/rooms/general/changes?from=4", CHANGES, ("room", "general", "--diff", "4")),
            ("/audit/people/bob/view?room=general", VIEW, ("person", "bob", "--room", "general")),
            (
                "/audit/people/bob/view?room=general&at=4",
                VIEW,
                ("person", "bob", "--room", "general", "--at", "4"),
            ),
            ("/audit/people/bob/rooms", ROOMS, ("person", "bob")),
        ):
            answer = await ann.get(path)
            assert answer.status_code == 200
            code, out, words = await run(env, "audit", *command)
            assert (code, words) == (0, "")
            moment = (
                {"at"} if template == ROOMS else set()
            )  # of two readings, without a time each is as of its own
            told, shown = json.loads(out), promised(answer, template)
            assert {key: told[key] for key in told.keys() - moment} == {
                key: shown[key] for key in shown.keys() - moment
            }
        then, now = [
            (await ann.get(f"/audit/rooms/general{moment}")).json()["messages"] for moment in ("?at=4", "")
        ]
        assert ([one["content"] for one in then], [one["content"] for one in now]) == (["one"], ["two"])
        seen = (await ann.get("/audit/people/bob/view?room=general")).json()
        assert (seen["written"], seen["unknown"]) == ([{"first": 1, "last": 4}], 0)
        assert seen["standing"]["lastRead"] == 4
        assert seen["readable"] == [{"first": 1, "last": 5}]


async def test_the_log_is_streamed_from_any_cursor_and_each_reading_is_in_it(
    general: Process, database: Database
) -> None:
    await ended(database, 2)
    async with visitor(general, "ann", "auditor") as ann:
        first = await ann.get("/audit/events")
        assert first.headers["content-type"] == "application/x-ndjson"
        lines = first.text.splitlines()
        events = [json.loads(line) for line in lines]
        kept = await stored(database, "SELECT notification_id AS n FROM stored_events ORDER BY 1")
        assert [event["position"] for event in events] == [row["n"] for row in kept][:-1]
        again = (await ann.get("/audit/events", params={"after": events[3]["position"]})).text.splitlines()
        assert again[: len(lines) - 4] == lines[4:]
        assert [(event["type"], event["by"]) for event in map(json.loads, again[len(lines) - 4 :])] == [
            ("AuditRead", "ann")
        ]
        for asked, kinds in (
            ({"room": "general", "type": "MessagePosted"}, ["MessagePosted"]),
            (
                {"room": "general", "person": "bob"},
                ["MemberJoined", "ReadMarkerMoved", "SessionClosed"],
            ),
            ({"room": "general", "type": "ReadMarkerMoved"}, ["ReadMarkerMoved"]),
            ({"room": "general", "type": "AuditRead"}, ["AuditRead"] * 3),
            ({"person": "bob", "type": "ReadMarkerMoved"}, ["ReadMarkerMoved"]),
            ({"type": "MessageEdited", "to": events[3]["at"]}, []),
            (
                {"type": "MessageEdited", "from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"},
                ["MessageEdited"],
            ),
            ({"room": "general", "person": "alice", "type": "MessagePosted", "after": str(2**53 - 1)}, []),
        ):
            found = await ann.get("/audit/events", params=asked)
            assert [json.loads(line)["type"] for line in found.text.splitlines()] == kinds


@pytest.mark.usefixtures("projector")
async def test_an_unknown_room_or_person_is_an_error_in_every_route_and_command(
    general: Process, database: Database
) -> None:
    async with visitor(general, "ann", "auditor") as ann:
        for path, code in (
            ("/audit/events?room=nowhere", "room_not_found"),
            ("/audit/events?person=nobody", "user_not_found"),
            (
                "/audit/events?person=nobody&follow=true",
                "user_not_found",
            ),  # its own readings do not make it known
            ("/audit/rooms/nowhere", "room_not_found"),
            ("/audit/rooms/nowhere/changes?from=1", "room_not_found"),
            ("/audit/people/nobody/view?room=general", "user_not_found"),
            ("/audit/people/bob/view?room=nowhere", "room_not_found"),
            ("/audit/people/nobody/rooms", "user_not_found"),
        ):
            answer = await ann.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, code), path
        assert (await ann.get("/audit/events?person=ann&type=AuditRead")).text, (
            "who only reads is on the record"
        )
    await all_sealed(database)
    env = environment(database)
    unknown_room, unknown_person = "There is no room nowhere.\n", "There is no person nobody on the record.\n"
    for command, words in (
        (("replay", "--room", "nowhere"), unknown_room),
        (("room", "nowhere"), unknown_room),
        (("room", "nowhere", "--diff", "1"), unknown_room),
        (("person", "nobody"), unknown_person),
        (("person", "nobody", "--room", "general"), unknown_person),
        (("person", "bob", "--room", "nowhere"), unknown_room),
        (("prove", "--room", "nowhere", "--seq", "1"), unknown_room),
        (("export", "--out", "case", "--room", "nowhere"), unknown_room),
        (("export", "--out", "case", "--person", "nobody"), unknown_person),
        (("hold", "--room", "nowhere", "--ground", "x"), unknown_room),
        (("hold", "--person", "nobody", "--ground", "x"), unknown_person),
        (("retention", "--room", "nowhere", "--days", "1"), unknown_room),
        (("erase", "--person", "nobody", "--ground", "x"), unknown_person),
    ):
        assert await run(env, "audit", *command) == (1, "", words), command


async def test_a_day_without_a_time_is_the_whole_day(general: Process, database: Database) -> None:
    await ended(database, 2)
    async with visitor(general, "ann", "auditor") as ann:
        (first,) = await stored(
            database, "SELECT min(recorded_at) AS at, max(recorded_at) AS last FROM stored_events"
        )
        day = {"from": first["at"].date().isoformat(), "to": first["last"].date().isoformat()}
        posted = (await ann.get("/audit/events", params={"type": "MessagePosted", **day})).text.splitlines()
        assert [json.loads(line)["content"] for line in posted] == ["one"]
        whole = (await ann.get("/audit/rooms/general")).json()
        assert (await ann.get(f"/audit/rooms/general?at={day['to']}")).json()["messages"] == whole["messages"]
        changes = (await ann.get(f"/audit/rooms/general/changes?from={day['from']}&to={day['to']}")).json()
        assert (changes["from"], len(changes["messages"])) == ({"seq": 0}, 1)
        seen = promised(await ann.get(f"/audit/people/bob/rooms?at={day['to']}"), ROOMS)
        assert (seen["since"][:10], seen["rooms"][0]["readable"]) == (day["to"], [{"first": 1, "last": 5}])
        assert (await ann.get("/audit/events?to=2020-01-01&from=2019-12-31")).text == ""


async def test_a_moment_to_come_is_refused(general: Process, database: Database) -> None:
    tomorrow = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    async with visitor(general, "ann", "auditor") as ann:
        for path, parameter in (
            ("/audit/rooms/general?at=", "at"),
            ("/audit/rooms/general/changes?from=", "from"),
            ("/audit/rooms/general/changes?from=1&to=", "to"),
            ("/audit/people/bob/view?room=general&at=", "at"),
        ):
            for moment in (tomorrow, f"{tomorrow}T00:00:00Z", "99"):
                answer = await ann.get(path + moment)
                problem = answer.json()
                assert (answer.status_code, problem["parameter"]) == (400, parameter), path
                expected = "There is no event 99 in general yet" if moment == "99" else "is in the future"
                assert expected in problem["detail"]
            assert (await ann.get(path + today)).status_code == 200
        answer = await ann.get("/audit/rooms/general/changes?from=5&to=4")
        assert (answer.status_code, answer.json()["parameter"]) == (400, "to")
        answer = await ann.get(f"/audit/people/bob/rooms?at={tomorrow}")
        assert (answer.status_code, answer.json()["parameter"]) == (400, "at")
    env = environment(database)
    for command in (
        ("room", "general", "--at", tomorrow),
        ("room", "general", "--diff", tomorrow),
        ("person", "bob", "--at", tomorrow),
        ("person", "bob", "--room", "general", "--at", f"{tomorrow}T00:00:00Z"),
    ):
        code, out, words = await run(env, "audit", *command)
        assert (code, out, "is in the future" in words) == (2, "", True), command
    assert (await run(env, "audit", "room", "general", "--at", today))[0] == 0
    for begin, end in (("5", "4"), (today, "2026-01-01T00:00:00Z"), ("4", "2026-01-01T00:00:00Z")):
        reversed_range = await run(env, "audit", "room", "general", "--diff", begin, "--at", end)
        assert reversed_range == (2, "", "This range ends before it begins.\n")


@pytest.mark.timeout(300)
async def test_who_follows_hears_what_happens_until_the_token_expires(general: Process) -> None:
    heard: list[str] = []
    async with client(general.url, "alice", rooms={"general": 0}) as alice:
        for lifetime in (4, 16, 64):  # a slow machine needs the longer ones
            heard = await followed(general, alice, lifetime)
            if heard[-1:] == [f"new {lifetime}"]:
                break
    assert heard[0] == "one"
    assert heard[-1] == f"new {lifetime}"
    assert len(heard) == len(set(heard))


async def followed(general: Process, alice: Client, lifetime: int) -> list[str]:
    """Follow with a token that lives so many seconds, while alice says something; return what was heard by then."""
    heard: list[str] = []
    until_then = time.time() + lifetime  # ONRECORD_JWT_LEEWAY is 10 s
    async with visitor(general, "ann", "auditor", exp=until_then - 10) as ann:
        async with ann.stream("GET", "/audit/events?follow=true&type=MessagePosted") as answer:
            if answer.status_code != 200:
                return []
            saying = asyncio.create_task(alice.post("general", f"new {lifetime}"))
            heard.extend([json.loads(line)["content"] async for line in answer.aiter_lines() if line])
            await saying
    assert time.time() >= until_then, "it ends by the token and not before"
    return heard


async def test_who_follows_and_is_suspended_hears_no_more(general: Process) -> None:
    async with (
        visitor(general, "ann", "auditor") as ann,
        visitor(general, "root", "admin") as root,
        ann.stream("GET", "/audit/events?follow=true") as answer,
    ):
        lines = answer.aiter_lines()
        assert json.loads(await anext(lines))["position"] == 1
        assert (await root.post("/admin/people/ann/suspend", json={})).status_code == 200
        async for _ in lines:  # to its end, which comes
            pass


async def test_a_node_that_stops_does_not_wait_for_those_who_follow(database: Database) -> None:
    async with running(environment(database), "serve") as node, visitor(node, "ann", "auditor") as ann:
        async with ann.stream("GET", "/audit/events?follow=true") as answer:
            lines = answer.aiter_lines()
            assert json.loads(await anext(lines))["type"] == "AuditRead"
            assert await node.stop() == 0
        assert "Traceback" not in "".join(node.words)


async def test_a_node_sends_so_many_readings_at_once_and_no_more(
    general: Process, database: Database
) -> None:
    async with visitor(general, "ann", "auditor") as ann, AsyncExitStack() as stack:
        kept = []  # an iterator that is let go closes its connection
        for _ in range(MAX_READS):
            following = await stack.enter_async_context(ann.stream("GET", "/audit/events?follow=true"))
            kept.append(following.aiter_lines())
            await anext(kept[-1])
        for path in OF_THE_AUDITOR[:2]:
            assert (await ann.get(path)).json()["code"] == "overloaded"
        assert len(await readings(database)) == MAX_READS
        await stack.aclose()

        async def room_again() -> bool:
            return (await ann.get("/audit/rooms/general")).status_code == 200

        await until(room_again)


async def test_what_is_asked_for_its_head_alone_is_recorded_and_not_sent(
    general: Process, database: Database
) -> None:
    async with visitor(general, "ann", "auditor") as ann:
        for path in OF_THE_AUDITOR:
            answer = await ann.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
        assert (await ann.head("/audit/rooms/nowhere")).status_code == 404
    assert len(await readings(database)) == len(OF_THE_AUDITOR) + 1


@pytest.mark.parametrize("path", OF_THE_AUDITOR)
@pytest.mark.parametrize("scope", ["chat", "admin", "chat admin", "", "auditors"])
async def test_nobody_but_an_auditor_reads_and_a_refusal_is_no_reading(
    general: Process, database: Database, path: str, scope: str
) -> None:
    async with visitor(general, "alice", scope) as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
        del http.headers["Authorization"]
        assert (await http.get(path)).status_code == 401
    assert await readings(database) == []


async def test_an_auditor_enters_no_door_and_reads_nothing_of_the_chat(
    general: Process, database: Database
) -> None:
    auditor = token("ann", scope="auditor")
    async with raw(general.url) as socket:
        await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": auditor, "rooms": {}}))
        await socket.wait_closed()
        assert socket.close_code == 4500
    async with client(general.url, "ann") as ann:  # a token without the claim is one to chat with
        with pytest.raises(Refused, match="not_allowed"):
            await ann.say("auth:refresh", token=auditor)
    async with httpx.AsyncClient(base_url=general.address) as polling:
        door = "/socket.io/?EIO=4&transport=polling"
        sid = json.loads((await polling.get(door)).text[1:])["sid"]
        await polling.post(f"{door}&sid={sid}", content="40" + json.dumps({"token": auditor}))
        answer = (await polling.get(f"{door}&sid={sid}")).text
        assert (answer[:2], json.loads(answer[2:])["data"]["code"]) == ("44", "not_allowed")
    async with visitor(general, "ann", "auditor") as http:
        for path in ("/api/rooms", "/api/me/rooms", "/api/rooms/general/messages"):
            assert (await http.get(path)).json()["code"] == "not_allowed"
        for path in OF_THE_AUDITOR:
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert (await http.request(method, path)).status_code == 405

    async def of_hers() -> set[str]:
        rows = await stored(
            database,
            "SELECT DISTINCT split_part(stream, ':', 1) AS s FROM stored_events WHERE recorded_by = 'ann'",
        )
        return {row["s"] for row in rows}

    await until(of_hers)  # sessions are recorded in batches, a moment after the connection
    assert await of_hers() == {"session"}


EVERY = yaml.safe_load((ROOT / "docs" / "reference" / "openapi.yaml").read_text())["paths"]
"""Every address that the HTTP side has, and its methods."""


def test_every_address_of_the_record_is_among_those_tested_here() -> None:
    of_the_record = {path for path in EVERY if path.startswith("/audit")}
    assert of_the_record == {"/audit/events", ROOM, CHANGES, VIEW, ROOMS}
    assert len(OF_THE_AUDITOR) == len(of_the_record)


async def test_a_token_to_read_the_record_is_refused_at_every_other_address(
    general: Process, database: Database
) -> None:
    async with visitor(general, "ann", "auditor") as ann:
        for path, methods in EVERY.items():
            if path.startswith(("/api", "/admin")):
                for method in methods.keys() & {"get", "post", "put", "patch", "delete"}:
                    address = path.replace("{roomId}", "general").replace("{userId}", "bob")
                    answer = await ann.request(method, address, json={} if method != "get" else None)
                    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), path
    assert await stored(database, "SELECT 1 FROM stored_events WHERE recorded_by = 'ann'") == []


async def test_every_reading_is_recorded_as_it_was_asked_for(general: Process, database: Database) -> None:
    async with visitor(general, "ann", "auditor") as ann:
        for path, reading in (
            ("/audit/events", {"what": "events"}),
            (
                "/audit/events?after=3&person=bob&type=MemberJoined",
                {"what": "events", "person": "bob", "asked": {"after": "3", "type": "MemberJoined"}},
            ),
            ("/audit/rooms/general?at=4", {"what": "room", "room": "general", "asked": {"at": "4"}}),
            (
                "/audit/rooms/general/changes?from=1&to=2",
                {"what": "changes", "room": "general", "asked": {"from": "1", "to": "2"}},
            ),
            ("/audit/people/bob/view?room=general", {"what": "view", "room": "general", "person": "bob"}),
            ("/audit/people/bob/rooms", {"what": "view", "person": "bob"}),
            ("/audit/rooms/nowhere", {"what": "room", "room": "nowhere"}),
        ):
            await ann.get(path)
            assert (await readings(database))[-1] == ("ann", {"via": "http", **reading}), path


@pytest.mark.logs("not_appended")
async def test_what_cannot_be_recorded_is_not_given(general: Process, database: Database) -> None:
    await stored(database, "REVOKE EXECUTE ON FUNCTION chat_append FROM onrecord_node")
    async with visitor(general, "ann", "auditor") as ann:
        for path in OF_THE_AUDITOR:
            answer = await ann.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert "one" not in answer.text.split()


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/audit/rooms/general?at=yesterday", "at"),
        ("/audit/rooms/general?at=2026-13-01T00:00:00Z", "at"),
        ("/audit/rooms/general?at=2026-01-01T00:00:00", "at"),
        ("/audit/rooms/general?when=4", "when"),
        ("/audit/rooms/general?at=0001-01-01T00:00:00%2B14:00", "at"),
        ("/audit/rooms/general/changes?from=0", "from"),
        ("/audit/events?from=4", "from"),
        ("/audit/events?type=MessageShouted", "type"),
        ("/audit/events?follow=true&to=2026-01-01T00:00:00Z", "to"),
        ("/audit/events?after=-1", "after"),
        ("/audit/events?after=x", "after"),
        ("/audit/events?after=99999999999999999999", "after"),
        ("/audit/events?follow=perhaps", "follow"),
        ("/audit/events?room=no%20room", "room"),
        ("/audit/events?person=no%20body", "person"),
        ("/audit/events?to=tomorrow", "to"),
        ("/audit/events?from=2026-02-01&to=2026-01-01", "to"),
        ("/audit/events?room=general&rooms=other", "rooms"),
        ("/audit/events?room=general&type=PersonNamed", "room"),
        ("/audit/people/bob/view", "room"),
        ("/audit/people/bob/view?at=", "room"),
        ("/audit/people/bob/rooms?at=4", "at"),
        ("/audit/people/bob/rooms?at=2026-02-30", "at"),
    ],
)
async def test_a_wrong_parameter_is_named_and_nothing_is_recorded(
    node: Process, database: Database, path: str, parameter: str
) -> None:
    async with visitor(node, "ann", "auditor") as ann:
        answer = await ann.get(path)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "malformed")
        assert not parameter or problem["parameter"] == parameter
        assert "got 'str'" not in problem["detail"], "a value in a URL is always text"
        assert not re.search("Object|'int'", problem["detail"]), "words of a library"
        assert "regex" not in problem["detail"] or parameter in ("room", "person"), problem["detail"]
        assert (await ann.get("/audit/rooms/nowhere")).json()["code"] == "room_not_found"
    assert len(await readings(database)) == 1


async def test_an_unknown_type_is_refused_with_the_types_there_are(node: Process) -> None:
    async with visitor(node, "ann", "auditor") as ann:
        detail = (await ann.get("/audit/events?type=Message%0APosted")).json()["detail"]
    assert all(event.__name__ in detail for event in EVENTS.values())


async def test_owners_are_shown_who_read_their_room_where_that_is_the_policy(database: Database) -> None:
    env = environment(database, ONRECORD_SHOW_READINGS="true")
    async with (
        running(env, "serve") as node,
        client(node.url, "alice") as alice,
        client(node.url, "bob") as bob,
        visitor(node, "ann", "auditor") as ann,
    ):
        await alice.say("room:create", roomId="ours", name="Ours", visibility="private", members=["bob"])
        await bob.say("room:create", roomId="other", name="Other", visibility="private")
        for path in (
            "/audit/rooms/ours",
            "/audit/rooms/other",
            "/audit/events?person=bob",
            "/audit/events?person=alice",
            "/audit/events",
        ):
            assert (await ann.get(path)).status_code == 200
        await run(env, "audit", "replay", "--room", "ours")
        async with visitor(node, "alice", "chat") as owner:
            page = promised(await owner.get("/api/rooms/ours/readings"), READINGS)
            shown = [(one["what"], one["of"], one["via"]) for one in page["readings"]]
            assert shown == [
                ("room", "room", "http"),
                # A reading about a person is shown to no room: a room that invites the person would learn of it.
                ("events", "everything", "http"),
                ("replay", "room", "cli"),
            ]
            assert [one["by"] for one in page["readings"]][:2] == ["ann"] * 2
            last = promised(await owner.get("/api/rooms/ours/readings?limit=1"), READINGS)
            assert (last["readings"], last["hasMore"]) == (page["readings"][-1:], True)
            before = {"before": last["readings"][0]["number"], "limit": 3}
            rest = promised(await owner.get("/api/rooms/ours/readings", params=before), READINGS)
            assert (rest["readings"], rest["hasMore"]) == (page["readings"][:2], False)
        for user, code in (("bob", "not_allowed"), ("eve", "room_not_found")):
            async with visitor(node, user, "chat") as http:
                answer = promised(await http.get("/api/rooms/ours/readings"), READINGS)
                assert answer["code"] == code


async def test_where_it_is_not_the_policy_owners_are_shown_nothing(general: Process) -> None:
    async with visitor(general, "alice", "chat") as owner:
        answer = promised(await owner.get("/api/rooms/general/readings"), READINGS)
        assert answer["code"] == "not_allowed"
