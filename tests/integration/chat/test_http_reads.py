"""The reads over HTTP: the same rules and payloads as on the socket, and what HTTP itself asks for."""

import asyncio
import json
import time
from typing import Any

import pytest
import yaml

from service.embedded import Servers
from service.gateway.auth.claims import CHAT
from service.gateway.http.documents import asyncapi_yaml, openapi_yaml
from service.gateway.http.endpoint import Read
from service.gateway.http.openapi import EVERY_READ as EVERY_DESCRIBED
from tests.support.clients.native import Refused, client
from tests.support.environment import environment, token
from tests.support.http.openapi import promised, reader
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database

EVERY_READ = (
    "/api/rooms",
    "/api/rooms/general",
    "/api/rooms/general/messages",
    "/api/rooms/general/members",
    "/api/rooms/general/receipts",
    "/api/me/rooms",
)


@pytest.fixture
async def general(node: Process) -> Process:
    """A node with a room of two: alice owns it, bob has read the first of five messages."""
    async with client(node.url, "alice", name="Alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        for number in range(5):
            await alice.post("general", f"message {number}", mentions=["bob"])
        await bob.say("message:read", roomId="general", messageId=4)
    return node


async def test_messages_are_those_of_the_socket(general: Process) -> None:
    path = "/api/rooms/general/messages"
    async with client(general.url, "bob") as bob, reader(general, "bob") as http:
        for asked in ({}, {"limit": 2}, {"before": 7, "limit": 2}, {"after": 5}, {"after": 0}, {"before": 4}):
            page = await bob.say("message:history", roomId="general", **asked)
            answer = promised(await http.get(path, params=dict(asked)), "/api/rooms/{roomId}/messages")
            assert answer == {"messages": page["messages"], "hasMore": page["hasMore"]}


async def test_a_room_can_be_paged_from_its_newest_message_to_its_first(general: Process) -> None:
    found: list[int] = []
    async with reader(general, "bob") as http:
        more, before = True, dict[str, int]()
        while more:
            page = (await http.get("/api/rooms/general/messages", params={"limit": 2, **before})).json()
            found = [one["messageId"] for one in page["messages"]] + found
            more, before = page["hasMore"], {"before": found[0]}
    assert found == [4, 5, 6, 7, 8]


async def test_members_receipts_and_one_s_rooms_are_those_of_the_socket(general: Process) -> None:
    async with client(general.url, "bob") as bob, reader(general, "bob") as http:
        page = await bob.say("room:members", roomId="general", limit=1)
        answer = await http.get("/api/rooms/general/members", params={"limit": 1})
        shown = promised(answer, "/api/rooms/{roomId}/members")
        assert shown == {"members": page["members"], "hasMore": True}
        answer = await http.get("/api/rooms/general/members", params={"after": "alice"})
        assert [one["userId"] for one in answer.json()["members"]] == ["bob"]
        mine = promised(await http.get("/api/me/rooms"), "/api/me/rooms")
        listed = await bob.say("room:list")
        assert mine == {name: listed[name] for name in ("rooms", "invitations", "hasMore")}
        assert (mine["rooms"][0]["unread"], mine["rooms"][0]["mentions"]) == (4, 4)
        await bob.join("general")
        receipts = promised(await http.get("/api/rooms/general/receipts"), "/api/rooms/{roomId}/receipts")
        assert receipts == {"receipts": bob.events("room:receipts")[0]["receipts"]}
        assert [(one["userId"], one["messageId"]) for one in receipts["receipts"]] == [("bob", 4)]


@pytest.mark.usefixtures("projector")
async def test_the_public_rooms_are_there_for_every_user_page_by_page(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        for number in range(7):
            await alice.say("room:create", roomId=f"r{number}", name=f"Room {number}")
        await alice.say("room:create", roomId="r3-secret", name="Secret", visibility="private")
        await alice.say("room:create", roomId="r4.two", name="Two", visibility="direct", members=["bob"])
        found: list[dict[str, Any]] = []
        async with reader(node, "eve") as http:
            more, after = True, dict[str, str]()
            while more:
                page = promised(await http.get("/api/rooms", params={"limit": 3, **after}), "/api/rooms")
                found += page["rooms"]
                more, after = page["hasMore"], {"after": found[-1]["roomId"]}
            assert [one["roomId"] for one in found] == [f"r{number}" for number in range(7)]
            assert found[0]["name"] == "Room 0"
            # A room is there at once, whether or not the projector has heard of it yet.
            await alice.say("room:create", roomId="r5.5", name="New")
            page = (await http.get("/api/rooms", params={"after": "r5", "limit": 1})).json()
            assert ([one["roomId"] for one in page["rooms"]], page["hasMore"]) == (["r5.5"], True)


async def test_a_room_is_shown_as_its_reader_may_see_it(node: Process) -> None:
    path = "/api/rooms/{roomId}"
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.say("room:create", roomId="open", name="Open")
        await alice.say("room:create", roomId="secret", name="Secret", visibility="private", members=["bob"])
        await bob.say("room:leave", roomId="secret")
        await alice.post("secret", "bob does not read this")
    seen: dict[tuple[str, str], Any] = {}
    for user in ("alice", "bob", "eve"):
        async with reader(node, user) as http:
            for room in ("open", "secret", "missing"):
                seen[user, room] = promised(await http.get(f"/api/rooms/{room}"), path)
    opened = {"roomId": "open", "name": "Open", "visibility": "public", "members": 1}
    assert seen["alice", "open"] == {**opened, "role": "owner", "head": 2}
    assert seen["eve", "open"] == opened
    secret = {"roomId": "secret", "name": "Secret", "visibility": "private"}
    assert seen["alice", "secret"] == {**secret, "role": "owner", "head": 5, "members": 1}
    assert seen["bob", "secret"] == {**secret, "head": 4}
    hidden, missing = seen["eve", "secret"], seen["eve", "missing"]
    assert hidden["code"] == missing["code"] == "room_not_found"
    assert {**hidden, "detail": ""} == {**missing, "detail": ""}


@pytest.mark.parametrize(
    "read",
    # Everybody may export their own data once an hour, which names no room that they were not in.
    [read for read in EVERY_DESCRIBED if read.scope == CHAT and read.path != "/api/me/export"],
    ids=lambda read: read.path,
)
async def test_nothing_over_http_tells_a_private_room_from_a_missing_one(
    database: Database, read: Read
) -> None:
    """Neither a word, a status nor a header; by the table of reads, so that a new one cannot be forgotten."""
    async with running(environment(database, ONRECORD_SHOW_READINGS="true"), "serve") as node:
        async with client(node.url, "alice") as alice:
            await alice.say(
                "room:create", roomId="secret", name="Secret", visibility="private", members=["ben"]
            )
            await alice.post("secret", "hidden")
            await alice.say("room:ban", roomId="secret", userId="ben")
        for user in ("eve", "ben"):
            async with reader(node, user) as http:
                for method in ("GET", "HEAD"):
                    hidden, missing = [
                        (
                            answer.status_code,
                            answer.text.replace(room, "ROOM"),
                            {**answer.headers, "date": ""},
                        )
                        for room in ("secret", "absent")
                        for answer in [await http.request(method, read.path.format(roomId=room))]
                    ]
                    assert hidden == missing
                    assert hidden[0] == (404 if "{roomId}" in read.path else 200)
                    assert "ecret" not in hidden[1]


@pytest.mark.parametrize("part", ["", "/messages", "/members", "/receipts"])
async def test_who_may_not_see_is_told_no_more_than_on_the_socket(general: Process, part: str) -> None:
    async with client(general.url, "alice") as alice:
        await alice.say("room:create", roomId="secret", name="Secret", visibility="private")
    path = "/api/rooms/{roomId}" + part
    async with reader(general, "eve") as http:
        for room in ("secret", "nowhere"):
            answer = await http.get(f"/api/rooms/{room}{part}")
            assert answer.status_code == 404
            assert promised(answer, path)["code"] == "room_not_found"
        if part:
            answer = await http.get(f"/api/rooms/general{part}")
            assert answer.status_code == 403
            problem = promised(answer, path)
            assert (problem["code"], problem["title"]) == ("not_a_member", "Forbidden")
            assert problem["detail"] == "You are not a member of general."


async def test_whoever_left_reads_up_to_their_leave_here_too(general: Process) -> None:
    async with client(general.url, "bob") as bob, client(general.url, "alice") as alice:
        await bob.say("room:leave", roomId="general")
        await alice.post("general", "too late for bob")
    async with reader(general, "bob") as http:
        page = (await http.get("/api/rooms/general/messages")).json()
        assert [one["messageId"] for one in page["messages"]] == [4, 5, 6, 7, 8]
        assert (await http.get("/api/rooms/general/members")).status_code == 403
        assert (await http.get("/api/me/rooms")).json() == {"rooms": [], "invitations": [], "hasMore": False}


@pytest.mark.parametrize("path", EVERY_READ)
async def test_nobody_reads_without_a_good_token(node: Process, path: str) -> None:
    described = path.replace("general", "{roomId}")
    wrong = {
        "": ("token_invalid", 'Bearer realm="onrecord"'),
        "Basic YTpi": ("token_invalid", 'Bearer realm="onrecord"'),
        "Bearer nonsense": ("token_invalid", 'Bearer realm="onrecord", error="invalid_token"'),
        f"Bearer {token('alice', expires=int(time.time()) - 60)}": (
            "token_expired",
            'Bearer realm="onrecord", error="invalid_token"',
        ),
    }
    async with reader(node, None) as http:
        for header, (code, challenge) in wrong.items():
            headers = {"Authorization": header} if header else {}
            answer = await http.get(path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)
            assert promised(answer, described)["code"] == code
        inside = await http.get(path, params={"token": token("alice")})  # a token never travels in a URL
        assert inside.status_code == 401


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/api/rooms", "limit=0", "limit"),
        ("/api/rooms", "limit=201", "limit"),
        ("/api/rooms", "limit=many", "limit"),
        ("/api/rooms", "limit=", "limit"),
        ("/api/rooms", "after=No!", "after"),
        ("/api/rooms", "surprise=1", "surprise"),
        ("/api/rooms", "limit=1&limit=2", "limit"),
        ("/api/rooms/No!", "", "roomId"),
        ("/api/rooms/general", "roomId=another", "roomId"),
        ("/api/rooms/general/messages", "before=0", "before"),
        ("/api/rooms/general/messages", "before=9007199254740992", "before"),
        ("/api/rooms/general/messages", "after=-1", "after"),
        ("/api/rooms/general/messages", "after=%00", "after"),
        ("/api/rooms/general/messages", "ref=r", "ref"),
        ("/api/rooms/general/messages", "type=message:send", "type"),
        ("/api/rooms/general/members", "after=no%20spaces", "after"),
        ("/api/me/rooms", "after=No!", "after"),
    ],
)
async def test_a_wrong_parameter_is_named(general: Process, path: str, query: str, parameter: str) -> None:
    async with reader(general, "alice") as http:
        answer = await http.get(f"{path}?{query}")
        assert answer.status_code == 400
        problem = answer.json()
        assert (problem["code"], problem["parameter"]) == ("malformed", parameter)
        assert parameter in problem["detail"]


async def test_before_and_after_together_are_refused_as_on_the_socket(general: Process) -> None:
    async with client(general.url, "alice") as alice, reader(general, "alice") as http:
        with pytest.raises(Refused) as refused:
            await alice.say("message:history", roomId="general", before=5, after=4)
        answer = await http.get("/api/rooms/general/messages", params={"before": 5, "after": 4})
        assert answer.status_code == 400
        assert answer.json()["detail"] == refused.value.error["message"]


async def test_reads_and_commands_share_one_rate(database: Database) -> None:
    env = environment(database, ONRECORD_RATE_BURST="4", ONRECORD_RATE_PER_SECOND="1")
    async with (
        running(env, "serve") as node,
        client(node.url, "alice") as alice,
        reader(node, "alice") as http,
        reader(node, "bob") as other,
    ):
        await alice.say("room:list")
        for _ in range(3):
            assert (await http.get("/api/rooms")).status_code == 200
        answer = await http.get("/api/me/rooms")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert 0 < promised(answer, "/api/me/rooms")["retryAfter"] <= 1
        with pytest.raises(Refused, match="too_many_requests"):
            await alice.say("room:list")
        assert (await other.get("/api/rooms")).status_code == 200


async def test_while_the_log_cannot_be_read_so_is_said(database: Database, servers: Servers) -> None:
    env = environment(database, ONRECORD_DATABASE_TIMEOUT="0.5")
    async with running(env, "serve") as node, reader(node, "alice") as http:
        await asyncio.to_thread(servers.postgres.kill)
        try:
            for path in ("/api/rooms", "/api/rooms/general", "/api/me/rooms"):
                answer = await http.get(path, timeout=60)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert promised(answer, path.replace("general", "{roomId}"))["code"] == "unavailable"
        finally:
            await asyncio.to_thread(servers.postgres.start)
        async with asyncio.timeout(60):
            while (await http.get("/api/rooms", timeout=60)).status_code != 200:
                await asyncio.sleep(0.05)


async def test_a_read_model_too_far_behind_is_trouble_that_passes(general: Process) -> None:
    async with client(general.url, "alice") as alice, reader(general, "alice") as http:
        async with asyncio.TaskGroup() as group:
            for number in range(2_100):
                group.create_task(alice.post("general", f"more {number}"))
        answer = await http.get("/api/rooms")
        assert answer.status_code == 503
        assert promised(answer, "/api/rooms")["code"] == "projection_behind"


@pytest.mark.parametrize("path", EVERY_READ)
async def test_head_says_what_get_would_and_options_what_there_is(general: Process, path: str) -> None:
    async with reader(general, "alice") as http:
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-length", "cache-control"):
            assert head.headers[name] == got.headers[name]
        options = await http.options(path, headers={"Authorization": ""})
        assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused = await http.request(method, path)
            assert refused.status_code == 405
            assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
            assert refused.headers["content-type"] == "application/problem+json"


async def test_a_page_of_an_allowed_origin_may_read(database: Database) -> None:
    home = "https://chat.example"
    async with running(environment(database, ONRECORD_ORIGINS=f"{home},https://b.example"), "serve") as node:
        asked = {
            "Origin": home,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        async with reader(node, None) as http:
            preflight = await http.options("/api/rooms", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == home
        assert preflight.headers["access-control-allow-credentials"] == "true"
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type"} <= {*allowed.split(", ")}
        # POST is how a Socket.IO client says something over polling.
        assert set(preflight.headers["access-control-allow-methods"].split(", ")) == {"GET", "HEAD", "POST"}
        async with reader(node, "alice", Origin=home) as http:
            for path, status in (("/api/rooms", 200), ("/api/rooms/nowhere", 404)):
                answer = await http.get(path)
                assert answer.status_code == status
                assert answer.headers["access-control-allow-origin"] == home
                assert answer.headers["access-control-allow-credentials"] == "true"
                assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("configured", ["", "https://chat.example"])
@pytest.mark.parametrize("origin", ["https://evil.example", "https://chat.example.evil.example", "null"])
async def test_a_page_of_a_foreign_origin_is_refused(
    database: Database, configured: str, origin: str
) -> None:
    async with running(environment(database, ONRECORD_ORIGINS=configured), "serve") as node:
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        async with reader(node, None) as http:
            preflight = await http.options("/api/rooms", headers=asked)
            assert "access-control-allow-origin" not in preflight.headers
        async with reader(node, "alice", Origin=origin) as http:
            answer = await http.get("/api/rooms")
            assert answer.status_code == 403
            assert promised(answer, "/api/rooms")["code"] == "not_allowed"
            assert "access-control-allow-origin" not in answer.headers


async def test_the_page_of_this_very_server_may_read(node: Process) -> None:
    async with reader(node, "alice", Origin=node.address) as http:
        assert (await http.get("/api/rooms")).status_code == 200


async def test_the_documents_are_served_as_they_are_printed(node: Process, database: Database) -> None:
    for command, text in (("asyncapi", asyncapi_yaml()), ("openapi", openapi_yaml())):
        assert (await run(environment(database), command))[:2] == (0, text)
    async with reader(node, None) as http:
        for path, text in (("/asyncapi.yaml", asyncapi_yaml()), ("/openapi.yaml", openapi_yaml())):
            answer = await http.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/yaml")
            assert answer.text == text
            assert json.loads(json.dumps(yaml.safe_load(answer.text)))["info"]["title"] == "OnRecord"
