"""Reports of messages: who makes, sees and resolves them, at both doors and over HTTP; who learns nothing of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest

from service.domain.streams import report_id
from service.embedded import Servers
from tests.support.clients.native import Client, Refused, client
from tests.support.clients.python_socketio import Python
from tests.support.environment import environment, token
from tests.support.http.openapi import promised, reader
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database

PEOPLE = ("owner", "moderator", "author", "reporter", "bystander")


class Room:
    """A private room with a message of `author`; `moderator` is one."""

    def __init__(self, people: dict[str, Client]) -> None:
        self.people = people
        self.message = 0

    async def say(self, who: str, kind: str, **fields: Any) -> dict[str, Any]:
        return await self.people[who].say(kind, roomId="general", **fields)

    async def report(
        self, who: str = "reporter", message: int | None = None, **fields: Any
    ) -> dict[str, Any]:
        number = message or self.message
        return await self.say(who, "message:report", messageId=number, **{"reason": "It is spam.", **fields})

    async def furnish(self) -> None:
        await self.say("owner", "room:create", name="Room", visibility="private", members=[*PEOPLE[1:]])
        await self.say("owner", "room:role", userId="moderator", role="moderator")
        self.message = (await self.say("author", "message:send", content="Buy it now."))["messageId"]

    async def listed(self, who: str = "moderator", **fields: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.say(who, "report:list", **fields))["reports"]
        return found


@asynccontextmanager
async def furnished(*nodes: Process) -> AsyncIterator[Room]:
    """Give the room, its people connected to the nodes in turn."""
    async with AsyncExitStack() as stack:
        room = Room(
            {
                who: await stack.enter_async_context(client(nodes[number % len(nodes)].url, who))
                for number, who in enumerate(PEOPLE)
            }
        )
        await room.furnish()
        yield room


async def code(action: Any) -> str:
    try:
        await action
    except Refused as refused:
        return str(refused.code)
    return "ok"


async def test_a_report_reaches_moderators_on_every_node_and_no_one_else(
    database: Database, servers: Servers
) -> None:
    async with two_nodes(database, servers) as nodes, furnished(*nodes) as room:
        ack = await room.report()
        assert ack.keys() == {"type", "ref", "at"}, "a seq would show how many reports there are"
        report = report_id("general", room.message, "reporter")
        expected = {
            "type": "message:reported", "roomId": "general", "messageId": room.message, "authorId": "author",
            "userId": "reporter", "reason": "It is spam.", "at": ack["at"],
        }  # fmt: skip
        for who in ("owner", "moderator"):
            one = room.people[who]
            await one.until(lambda one=one: one.events("message:reported"))  # type: ignore[misc]
            (notice,) = one.events("message:reported")
            assert notice == {**expected, "reportId": report}
        shown = {name: value for name, value in expected.items() if name != "type"}
        assert await room.listed() == [{**shown, "reportId": report}]
        resolved = await room.say("owner", "report:resolve", reportId=report, outcome="warned", note="Once.")
        moderator = room.people["moderator"]
        await moderator.until(lambda: moderator.events("report:resolved"))
        assert moderator.events("report:resolved") == [
            {
                "type": "report:resolved", "roomId": "general", "reportId": report, "messageId": room.message,
                "userId": "owner", "outcome": "warned", "note": "Once.", "at": resolved["at"],
            }
        ]  # fmt: skip
        assert await room.listed() == []
        # The next event of the room has the next number, and comes after everything that nodes sent before it.
        following = await room.say("owner", "message:send", content="next")
        assert following["seq"] == room.message + 1
        for who in ("author", "reporter", "bystander"):
            one = room.people[who]
            await one.until(lambda one=one: one.events("message:new", seq=following["seq"]))  # type: ignore[misc]
            assert [event for event in one.heard if "report" in json.dumps(event["type"])] == []


async def test_a_report_is_made_once_by_members_and_not_of_ones_own_message(node: Process) -> None:
    async with furnished(node) as room, client(node.url, "outsider") as outsider:
        await room.report(ref="first")
        assert await room.report(ref="first", reason="It is spam.") == await room.report(ref="first")
        assert await code(room.report(ref="first", reason="Other words.")) == "ref_conflict"
        await room.report(reason="Again.")
        assert len(await room.listed()) == 1
        assert await code(room.report("author")) == "not_allowed"
        assert await code(room.report(message=900)) == "message_not_found"
        assert await code(room.report(message=1)) == "message_not_found", "no message has this number"
        wish = {"roomId": "general", "messageId": room.message, "reason": "It is spam."}
        assert await code(outsider.say("message:report", **wish)) == "room_not_found"
        await room.say("author", "message:delete", messageId=room.message)
        assert await code(room.report("bystander")) == "message_deleted"
        await room.report()
        for wrong in ({"reason": ""}, {"reason": "x" * 501}, {"messageId": 0}, {"more": 1}):
            assert await code(outsider.say("message:report", **wish | wrong)) == "malformed"


async def test_a_moderator_sees_and_resolves_no_report_of_their_own_message(node: Process) -> None:
    async with furnished(node) as room:
        own = (await room.say("moderator", "message:send", content="mine"))["messageId"]
        await room.report(message=own)
        await room.report()
        (shown,) = await room.listed()
        assert shown["messageId"] == room.message
        hidden = next(each for each in await room.listed("owner") if each["messageId"] == own)["reportId"]
        answer = {"reportId": hidden, "outcome": "dismissed"}
        assert await code(room.say("moderator", "report:resolve", **answer)) == "report_not_found"
        assert await code(room.listed("moderator", after=hidden)) == "report_not_found"
        moderator = room.people["moderator"]
        await moderator.until(lambda: moderator.events("message:reported"))
        assert moderator.events("message:reported", reportId=hidden) == []
        await room.say("owner", "report:resolve", **answer)
        following = await room.say("owner", "report:resolve", reportId=shown["reportId"], outcome="removed")
        await moderator.until(lambda: moderator.events("report:resolved", at=following["at"]))
        assert moderator.events("report:resolved", reportId=hidden) == []


async def test_a_report_has_one_outcome(node: Process) -> None:
    async with furnished(node) as room:
        await room.report()
        (shown,) = await room.listed()
        answer = {"reportId": shown["reportId"], "outcome": "removed"}
        for who in ("author", "reporter", "bystander"):
            assert await code(room.say(who, "report:resolve", **answer)) == "not_allowed"
            assert await code(room.listed(who)) == "not_allowed"
        await room.say("moderator", "report:resolve", **answer)
        await room.say("owner", "report:resolve", **answer)
        assert (
            await code(room.say("owner", "report:resolve", **answer | {"outcome": "warned"})) == "not_allowed"
        )
        unknown = "00000000-0000-5000-8000-000000000000"
        assert await code(room.say("owner", "report:resolve", **answer | {"reportId": unknown})) == (
            "report_not_found"
        )
        await room.report(reason="A resolved report is not made again.")
        assert await room.listed() == []


async def test_reports_of_a_day_are_limited_and_lists_are_paged(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_MAX_REPORTS="3"), "serve") as node,
        furnished(node) as room,
    ):
        numbers = [
            (await room.say("author", "message:send", content=f"spam {number}"))["messageId"]
            for number in range(4)
        ]
        for number in numbers[:3]:
            await room.report(message=number)
        with pytest.raises(Refused) as refused:
            await room.report(message=numbers[3])
        assert refused.value.code == "too_many_requests"
        assert 86_000 < refused.value.error["retryAfter"] <= 86_400
        await room.report(message=numbers[0])  # was reported: this is no further report
        found: list[int] = []
        after: dict[str, str] = {}
        more = True
        while more:
            page = await room.say("moderator", "report:list", limit=2, **after)
            found += [each["messageId"] for each in page["reports"]]
            more, after = page["hasMore"], {"after": page["reports"][-1]["reportId"]}
        assert found == numbers[:3]


async def test_reports_over_http_and_by_administrators(database: Database) -> None:
    env = environment(database, ONRECORD_REPORTS_TO_ADMINS="true")
    async with running(env, "serve") as node, furnished(node) as room:
        await room.report()
        listed = await room.listed()
        direct = await room.people["author"].say(
            "room:create", name="Two", visibility="direct", members=["reporter"]
        )
        two = {"roomId": direct["roomId"]}
        said = await room.people["author"].say("message:send", content="psst", **two)
        wish = {**two, "messageId": said["messageId"], "reason": "It is private."}
        await room.people["reporter"].say("message:report", **wish)
        assert await code(room.people["author"].say("report:list", **two)) == "not_allowed"
        async with reader(node, "moderator") as http:
            page = promised(await http.get("/api/rooms/general/reports"), "/api/rooms/{roomId}/reports")
            assert page == {"reports": listed, "hasMore": False}
            assert promised(await http.get("/admin/reports"), "/admin/reports")["code"] == "not_allowed"
        async with reader(node, "bystander") as http:
            refused = await http.get("/api/rooms/general/reports")
            assert promised(refused, "/api/rooms/{roomId}/reports")["code"] == "not_allowed"
        async with admin(node) as http:
            page = promised(await http.get("/admin/reports", params={"limit": 1}), "/admin/reports")
            assert page == {"reports": listed, "hasMore": True}
            after = {"after": listed[0]["reportId"]}
            page = promised(await http.get("/admin/reports", params=after), "/admin/reports")
            (private,) = page["reports"]
            assert (private["roomId"], private["reason"]) == (two["roomId"], "It is private.")
            path = f"/admin/rooms/{two['roomId']}/reports/{private['reportId']}/resolve"
            answer = await http.post(path, json={"outcome": "dismissed", "note": "Nothing."})
            assert (answer.status_code, answer.json()["outcome"]) == (200, "dismissed")
            assert (await http.post(path, json={"outcome": "dismissed"})).status_code == 200
            missing = path.replace(two["roomId"], "general")
            answer = await http.post(missing, json={"outcome": "dismissed"})
            assert (answer.status_code, answer.json()["code"]) == (404, "report_not_found")
    recorded = topics(database)
    assert recorded.count("report.ReportResolved.v1") == 1
    assert recorded.count("audit.AuditRead.v1") == 2, "what an administrator reads is on the record"


async def test_administrators_see_no_reports_unless_set(node: Process) -> None:
    async with furnished(node) as room, admin(node) as http:
        await room.report()
        (shown,) = await room.listed()
        assert promised(await http.get("/admin/reports"), "/admin/reports")["code"] == "not_allowed"
        path = f"/admin/rooms/general/reports/{shown['reportId']}/resolve"
        answer = await http.post(path, json={"outcome": "dismissed"})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
        direct = await room.people["author"].say(
            "room:create", name="Two", visibility="direct", members=["reporter"]
        )
        two = {"roomId": direct["roomId"]}
        said = await room.people["author"].say("message:send", content="psst", **two)
        wish = {**two, "messageId": said["messageId"], "reason": "No one would see it."}
        assert await code(room.people["reporter"].say("message:report", **wish)) == "not_allowed"


async def test_the_other_door_reports_lists_and_resolves(node: Process) -> None:
    async with (
        furnished(node) as room,
        socketio(node, "reporter") as reporter,
        socketio(node, "moderator") as one,
    ):
        wish = {"roomId": "general", "messageId": room.message, "reason": "It is spam."}
        assert (await said(reporter, "message:report", **wish)).keys() == {"ok", "at"}
        await one.until("message:reported", messageId=room.message)
        page = await said(one, "report:list", roomId="general")
        (shown,) = page["reports"]
        assert [shown] == await room.listed()
        answer = {"roomId": "general", "reportId": shown["reportId"], "outcome": "removed"}
        assert (await said(reporter, "report:resolve", **answer))["error"]["code"] == "not_allowed"
        assert (await said(one, "report:resolve", **answer)).keys() == {"ok", "at"}
        await one.until("report:resolved", reportId=shown["reportId"])
        assert await room.listed() == []


@asynccontextmanager
async def socketio(node: Process, user: str) -> AsyncIterator[Python]:
    python = Python()
    auth = {"token": token(user)}
    await asyncio.to_thread(python.io.connect, node.address, auth=auth, wait_timeout=30)
    try:
        yield python
    finally:
        await asyncio.to_thread(python.io.disconnect)


async def said(python: Python, kind: str, **fields: Any) -> dict[str, Any]:
    return await asyncio.to_thread(python.call, kind, fields)


@pytest.mark.usefixtures("projector")
async def test_an_erased_reporters_reason_is_gone_and_the_record_knows_reports(
    node: Process, database: Database
) -> None:
    async with furnished(node) as room:
        await room.report(reason="My address is 1 Low Road.")
        (shown,) = await room.listed()
        await room.say("owner", "report:resolve", reportId=shown["reportId"], outcome="warned", note="noted")
        await room.report("bystander", reason="It is rude.")
        env = environment(database)
        code_, _, words = await run(env, "audit", "erase", "--person", "reporter", "--ground", "asked")
        assert code_ == 0, words
        (other,) = await room.listed()
        assert other["reason"] == "It is rude."
        code_, _, words = await run(env, "audit", "erase", "--person", "bystander", "--ground", "asked")
        assert code_ == 0, words
        (other,) = await room.listed()
        assert other["reason"] is None
    headers = {"Authorization": f"Bearer {token('auditor', scope='auditor')}"}
    async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
        answer = await http.get("/audit/events", params={"type": "MessageReported"})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [(line["by"], line["reason"], line["erased"]) for line in lines] == [
            ("reporter", None, True),
            ("bystander", None, True),
        ]
        answer = await http.get("/audit/events", params={"type": "ReportResolved"})
        (line,) = [json.loads(line) for line in answer.text.splitlines()]
        assert (line["stream"], line["outcome"], line["note"]) == ("report:general", "warned", "noted")
    assert (await run(env, "project", "verify"))[0] == 0
    assert "Low Road" not in stored(database)


def admin(node: Process) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token('root', scope='admin')}"}
    return httpx.AsyncClient(base_url=node.address, headers=headers)


def topics(database: Database) -> list[str]:
    with psycopg.connect(database.superuser_url) as connection:
        return [row[0] for row in connection.execute("SELECT topic FROM stored_events")]


def stored(database: Database) -> str:
    """Return all rows of the log and of the table of reports as text."""
    with psycopg.connect(database.superuser_url) as connection:
        query = "SELECT s::text, convert_from(s.state, 'UTF8') FROM stored_events s"
        return str(
            connection.execute(query).fetchall()
            + connection.execute("SELECT r::text FROM reports r").fetchall()
        )
