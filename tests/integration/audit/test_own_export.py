"""A user's export of their own data over HTTP: what it has, what it leaves out, and how often it may be made."""

import asyncio
import json
from typing import Any

import httpx

from service.embedded import Servers
from tests.support.clients.native import client
from tests.support.environment import environment, token
from tests.support.http.openapi import DOCUMENT, check, promised, reader
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database

PATH = "/api/me/export"


async def exported(node: Process, user: str) -> list[dict[str, Any]]:
    """Return the lines of a user's export, each checked against the OpenAPI document."""
    async with reader(node, user) as http:
        answer = await http.get(PATH)
    assert answer.status_code == 200, answer.text
    content = DOCUMENT["paths"][PATH]["get"]["responses"]["200"]["content"]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    for line in lines:
        check(content["application/x-ndjson"]["schema"], line)
    return lines


async def test_an_export_has_what_is_by_and_about_the_user_alone(
    database: Database,
) -> None:
    env = environment(database)
    async with running(env, "serve") as node:
        async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
            await alice.join("general")
            await bob.join("general")
            for number in range(50):  # more than two pages
                await bob.post("general", f"of bob {number}")
            said = await alice.post("general", "of alice")
            wish = {"roomId": "general", "messageId": said["messageId"]}
            await bob.say("message:report", **wish, reason="bob reports")
            await bob.say("user:block", userId="alice")
            await alice.say("room:mute", roomId="general", userId="bob", reason="too much")
        await audited(node, "bob")
        code, _, words = await run(env, "audit", "hold", "--person", "bob", "--ground", "secret")
        assert code == 0, words
        own = await exported(node, "bob")
        about = await exported(node, "alice")
    assert [line["content"] for line in own if line["type"] == "MessagePosted"] == [
        f"of bob {number}" for number in range(50)
    ]
    assert [line["reason"] for line in own if line["type"] == "MessageReported"] == ["bob reports"]
    assert [line["reason"] for line in own if line["type"] == "MemberMuted"] == ["too much"]
    assert {"SessionOpened", "SessionClosed", "UserBlocked", "MemberJoined"} <= {line["type"] for line in own}
    assert not [line for line in own if line["type"] == "AuditRead"], "the auditor's reading is confidential"
    assert not [line for line in own if line["type"] == "HoldPlaced"]
    assert [line["position"] for line in own] == sorted({line["position"] for line in own})
    assert [line["content"] for line in about if line["type"] == "MessagePosted"] == ["of alice"]
    kinds = {line["type"] for line in about}
    assert "PersonNamed" in kinds
    assert not kinds & {"MessageReported", "UserBlocked", "HoldPlaced"}


async def audited(node: Process, person: str) -> None:
    headers = {"Authorization": f"Bearer {token('auditor', scope='auditor')}"}
    async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
        answer = await http.get(f"/audit/people/{person}/view", params={"room": "general"})
        assert answer.status_code == 200


async def test_a_user_exports_once_per_interval_on_all_nodes(database: Database, servers: Servers) -> None:
    async with (
        two_nodes(database, servers) as (one, other),
        reader(one, "bob") as here,
        reader(other, "bob") as there,
    ):
        answers = await asyncio.gather(*(http.get(PATH) for http in (here, there) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, *[429] * 5]
        refused = promised(await there.get(PATH), PATH)
        assert refused["code"] == "too_many_requests"
        assert 3_000 < refused["retryAfter"] <= 3_600
        await exported(other, "alice")


async def test_the_interval_is_a_setting(database: Database) -> None:
    async with running(environment(database, ONRECORD_EXPORT_INTERVAL="0"), "serve") as node:
        await exported(node, "bob")
        await exported(node, "bob")


async def test_an_export_needs_a_token_and_takes_no_parameters(node: Process) -> None:
    async with reader(node, None) as http:
        assert (await http.get(PATH)).status_code == 401
    async with reader(node, "bob") as http:
        assert promised(await http.get(PATH, params={"user": "alice"}), PATH)["code"] == "malformed"


async def test_an_export_is_owed_a_burst(database: Database) -> None:
    """The request itself needs no more than one unit, and is not refused."""
    env = environment(
        database, ONRECORD_EXPORT_INTERVAL="0", ONRECORD_RATE_PER_SECOND="1", ONRECORD_RATE_BURST="100"
    )
    async with running(env, "serve") as node, reader(node, "bob") as http:
        answers = [(await http.get(PATH)).status_code for _ in range(4)]
        assert answers == [200, 200, 200, 429], "each costs 41"
