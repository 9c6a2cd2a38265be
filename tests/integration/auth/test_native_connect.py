"""The native door: who gets in, and what a wrong frame is answered with."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

from tests.support.clients.connecting import connect_frame, connect_outcome
from tests.support.clients.native import Refused, client, raw
from tests.support.environment import environment, token
from tests.support.http.openapi import check
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database


async def closed_with(socket: ClientConnection) -> int:
    """Read until the end; return the close code."""
    with pytest.raises(ConnectionClosed):
        while True:
            await asyncio.wait_for(socket.recv(), 30)
    assert socket.close_code is not None
    return socket.close_code


def problem_of(response: Response) -> dict[str, Any]:
    """Return the problem document that an upgrade was refused with, as all of HTTP is (RFC 9457)."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    problem: dict[str, Any] = json.loads(response.body)
    check({"$ref": "#/components/schemas/Problem"}, problem)
    assert problem["status"] == response.status_code
    return problem


async def test_a_token_in_the_first_frame_opens_the_door(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        connected = alice.connected
        assert connected["userId"] == "alice"
        assert connected["protocol"] == 1
        assert connected["rooms"] == {}
        assert (connected["pingInterval"], connected["pingTimeout"]) == (25, 20)
        assert len(connected["session"]) == len(connected["epoch"]) == 36
        assert connected["expiresAt"].endswith(".000000Z")


async def test_a_token_on_the_upgrade_opens_the_door(node: Process) -> None:
    headers = {"Authorization": f"Bearer {token('alice')}"}
    async with raw(node.url, additional_headers=headers) as socket:
        await socket.send(connect_frame())
        assert json.loads(await socket.recv())["userId"] == "alice"


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (connect_frame(), 4500),
        (connect_frame(token="nonsense"), 4500),
        (connect_frame(token=token("alice", expires=int(time.time()) - 60)), 4001),
        (connect_frame(token=token("alice", nbf=int(time.time()) + 3600)), 4002),
        (connect_frame(token=token("alice", iat=int(time.time()) + 2 * 86_400)), 4500),
        (connect_frame(token=token("no spaces allowed")), 4500),
        (json.dumps({"type": "connect", "protocol": 2, "token": token("alice")}), 4502),
        ("this is not JSON", 4501),
        ('{"type": "connect", "protocol": NaN}', 4501),
        ("[1, 2, 3]", 4501),
        ('{"a":' * 40 + "1" + "}" * 40, 4501),
        (b"binary", 4501),
        ("x" * 200_000, 1009),
    ],
)
async def test_a_wrong_first_frame_closes_the_door(node: Process, first: str | bytes, code: int) -> None:
    async with raw(node.url) as socket:
        await socket.send(first)
        assert await closed_with(socket) == code


async def test_an_early_token_is_refused_with_the_seconds_to_wait(node: Process) -> None:
    async with raw(node.url) as socket:
        await socket.send(connect_frame(token=token("alice", nbf=int(time.time()) + 3600)))
        error = json.loads(await socket.recv())
        assert (error["type"], error["code"]) == ("error", "token_not_yet_valid")
        assert 3000 < error["retryAfter"] <= 3600
        assert await closed_with(socket) == 4002


async def test_a_token_issued_at_this_very_moment_opens_the_door(node: Process) -> None:
    for ahead in (0, 0.9, 1.5, 3600):
        this_moment = token("alice", iat=time.time() + ahead, nbf=time.time() + min(ahead, 1.5))
        assert await connect_outcome(node.url, this_moment) == "connected"


async def test_until_connected_no_other_frame_is_looked_at(node: Process) -> None:
    async with raw(node.url) as socket:
        await socket.send(json.dumps({"type": "room:list", "ref": "1"}))
        error = json.loads(await socket.recv())
        assert (error["type"], error["code"], error["ref"]) == ("error", "not_connected", "1")
        await socket.send(connect_frame(token=token("alice")))
        assert json.loads(await socket.recv())["type"] == "connected"


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        ('{"type":"room:list"}', "not_connected"),
        ('{"type":"connect","protocol":1,"surprise":1}', "malformed"),
        ('{"type":"connect","type":"connect"}', "malformed"),
        (connect_frame(rooms={f"room-{number}": 0 for number in range(2_000)}), "too_many_rooms"),
    ],
)
async def test_three_frames_before_connect_are_refused_and_a_fourth_closes(
    node: Process, refused: str, code: str
) -> None:
    async with raw(node.url) as socket:
        for _ in range(4):
            await socket.send(refused)
        answers = [json.loads(await socket.recv()) for _ in range(3)]
        assert [answer["code"] for answer in answers] == [code] * 3
        assert await closed_with(socket) == 4501


async def test_a_connect_after_three_refused_frames_is_taken(node: Process) -> None:
    async with raw(node.url) as socket:
        for _ in range(3):
            await socket.send('{"type":"room:list"}')
            assert json.loads(await socket.recv())["code"] == "not_connected"
        await socket.send(connect_frame(token=token("alice")))
        assert json.loads(await socket.recv())["type"] == "connected"
        for _ in range(5):  # the count is of frames before `connect` alone
            await socket.send("{}")
            assert json.loads(await socket.recv())["code"] == "unknown_type"


async def test_no_frame_before_connect_moves_its_deadline(database: Database) -> None:
    """Refused frames, control frames and fragments come one after the other for as long as the server reads them."""
    env = environment(database, ONRECORD_CONNECT_TIMEOUT="2")
    async with running(env, "serve") as node, raw(node.url) as socket:

        async def pieces() -> AsyncIterator[str]:
            while True:
                await socket.ping()
                await socket.pong()
                await asyncio.sleep(0.2)
                yield " "

        for _ in range(3):
            await socket.send('{"type":"room:list"}')
        sending = asyncio.create_task(socket.send(pieces()))
        assert await closed_with(socket) == 4500
        assert socket.close_reason == "no connect in time"
        await asyncio.gather(sending, return_exceptions=True)


async def test_silence_before_connect_ends_the_connection(database: Database) -> None:
    env = environment(database, ONRECORD_CONNECT_TIMEOUT="0.2")
    async with running(env, "serve") as node, raw(node.url) as socket:
        assert await closed_with(socket) == 4500


UPGRADES = {
    "native": "/ws",
    "socketio": "/socket.io/?EIO=4&transport=websocket",
}


@pytest.mark.parametrize("path", UPGRADES.values(), ids=UPGRADES.keys())
async def test_the_time_to_connect_runs_from_the_first_byte_of_the_upgrade(
    database: Database, path: str
) -> None:
    """A connection whose head took longer than that time closes before one that was opened during its head."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()
    closed: list[str] = []

    async def upgrade(name: str, begin: float, end: float) -> None:
        await asyncio.sleep(begin)
        reader, writer = await asyncio.open_connection(*node.address.removeprefix("http://").split(":"))
        writer.write(head[:10])
        await asyncio.sleep(end - begin)
        writer.write(head[10:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
        await asyncio.wait_for(reader.readuntil(b"no connect in time"), 30)
        closed.append(name)
        writer.close()

    async with running(environment(database, ONRECORD_CONNECT_TIMEOUT="3"), "serve") as node:
        await asyncio.gather(upgrade("slow", 0, 3.2), upgrade("quick", 2.5, 2.5))
    assert closed == ["slow", "quick"]


@pytest.mark.parametrize(
    ("origin", "configured", "admitted"),
    [
        (None, "", True),
        ("{address}", "", True),
        ("https://evil.example", "", False),
        ("null", "", False),
        ("http://[", "", False),
        ("https://chat.example", "https://chat.example", True),
        ("https://chat.example.evil.example", "https://chat.example", False),
    ],
)
async def test_a_foreign_page_is_refused_at_the_upgrade(
    database: Database, origin: str | None, configured: str, *, admitted: bool
) -> None:
    async with running(environment(database, ONRECORD_ORIGINS=configured), "serve") as node:
        shown = origin.format(address=node.address) if origin else None
        if admitted:
            async with raw(node.url, origin=shown):
                return
        with pytest.raises(InvalidStatus) as refused:
            async with raw(node.url, origin=shown):
                pass
        assert refused.value.response.status_code == 403
        problem = problem_of(refused.value.response)
        assert (problem["code"], problem["retryable"]) == ("not_allowed", False)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 405),
        ("GET", {"Sec-WebSocket-Version": "8"}, 426),
        ("GET", {"Sec-WebSocket-Key": "short"}, 400),
    ],
)
async def test_what_is_no_handshake_is_refused_as_all_of_http_is(
    node: Process, method: str, headers: dict[str, str], status: int
) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with httpx.AsyncClient(base_url=node.address) as http:
        answer = await http.request(method, "/ws", headers=upgrade | headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (answer.json()["status"], answer.json()["detail"][-1]) == (status, ".")


async def test_one_user_has_a_bounded_number_of_connections(database: Database) -> None:
    async with running(environment(database, ONRECORD_MAX_CONNECTIONS="2"), "serve") as node:
        async with client(node.url, "alice"), client(node.url, "alice"):
            headers = {"Authorization": f"Bearer {token('alice')}"}
            with pytest.raises(InvalidStatus) as refused:
                async with raw(node.url, additional_headers=headers):
                    pass
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["Retry-After"] == "5"
            problem = problem_of(refused.value.response)
            assert (problem["code"], problem["retryAfter"]) == ("too_many_requests", 5.0)
            async with raw(node.url) as socket:
                await socket.send(connect_frame(token=token("alice")))
                assert await closed_with(socket) == 4009
            async with client(node.url, "bob"):
                pass


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ({"type": "message:sent", "ref": "r"}, "unknown_type", "message:sent"),
        ({"type": 5, "ref": "r"}, "unknown_type", ""),
        ({"type": "message:send", "roomId": "general", "content": "x"}, "ref_required", ""),
        ({"type": "message:send", "ref": "r", "roomId": "general"}, "malformed", "content"),
        ({"type": "message:send", "ref": "r", "roomId": "general", "content": 5}, "malformed", "$.content"),
        ({"type": "message:send", "ref": "r", "roomId": "No!", "content": "x"}, "malformed", "$.roomId"),
        ({"type": "room:list", "ref": "r", "surprise": 1}, "malformed", "surprise"),
        ({"type": "room:list", "ref": "r" * 65}, "malformed", "$.ref"),
        ({"type": "message:history", "ref": "r", "roomId": "general", "limit": 201}, "malformed", "$.limit"),
        (
            {"type": "message:read", "ref": "r", "roomId": "general", "messageId": 2**60},
            "malformed",
            "$.messageId",
        ),
        (
            {"type": "message:send", "ref": "r", "roomId": "nowhere", "content": "x"},
            "room_not_found",
            "nowhere",
        ),
        ({"type": "message:send", "ref": "r", "roomId": "general", "content": " \n"}, "empty_message", ""),
        (
            {"type": "message:send", "ref": "r", "roomId": "general", "content": "x" * 10_001},
            "message_too_long",
            "",
        ),
        (
            {"type": "message:send", "ref": "r", "roomId": "general", "content": "<script>1</script>"},
            "unsafe_content",
            "script",
        ),
        ({"type": "auth:refresh", "ref": "r", "token": "nonsense"}, "token_invalid", ""),
        ({"type": "auth:refresh", "ref": "r", "token": token("bob")}, "not_allowed", ""),
    ],
)
async def test_a_wrong_command_gets_a_clear_error_and_nothing_is_stored(
    node: Process, frame: dict[str, Any], code: str, words: str
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        head = (await alice.say("room:list"))["rooms"][0]["head"]
        await alice.socket.send(json.dumps(frame))
        await alice.until(lambda: alice.events("error"))
        error = alice.events("error")[0]
        assert error["code"] == code
        assert words in error["message"]
        assert error["retryable"] is False
        assert error.get("ref") == ("r" if frame.get("ref") == "r" else None)
        assert (await alice.say("room:list"))["rooms"][0]["head"] == head


@pytest.mark.parametrize(
    "text",
    [
        r'{"type":"message:send","ref":"r","roomId":"general","content":"a","content":"b"}',
        r'{"type":"message:send","ref":"r","roomId":"general","content":"a\u0000b"}',
        r'{"type":"message:send","ref":"r","roomId":"general","content":"a\ud800b"}',
        r'{"type":"connect","ref":"r","protocol":1,"rooms":{"general":1,"general":2}}',
    ],
)
async def test_what_json_readers_disagree_about_is_refused(node: Process, text: str) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        await alice.socket.send(text)
        await alice.until(lambda: alice.events("error", ref="r"))
        assert alice.events("error")[0]["code"] in ("malformed", "unknown_type")


async def test_a_token_that_runs_out_ends_the_connection_unless_it_is_renewed(node: Process) -> None:
    soon = int(time.time()) - 4  # ONRECORD_JWT_LEEWAY is 10 s, and a busy machine needs some to connect
    async with raw(node.url) as renewed, raw(node.url) as forgotten:
        for socket in (renewed, forgotten):
            await socket.send(connect_frame(token=token("alice", expires=soon)))
            await socket.recv()
        await renewed.send(json.dumps({"type": "auth:refresh", "ref": "1", "token": token("alice")}))
        ack = json.loads(await renewed.recv())
        assert ack["expiresAt"] == "2096-10-02T07:06:50.000000Z", "with the leeway"
        assert await closed_with(forgotten) == 4001
        await renewed.send(json.dumps({"type": "room:list", "ref": "2"}))
        assert json.loads(await renewed.recv())["rooms"] == []


async def test_commands_past_the_rate_are_refused_and_a_flood_is_closed(database: Database) -> None:
    env = environment(database, ONRECORD_RATE_BURST="5", ONRECORD_RATE_PER_SECOND="1")
    async with running(env, "serve") as node, client(node.url, "alice") as alice:
        answers = await asyncio.gather(*(alice.say("room:list") for _ in range(50)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert 0 < len(refused) <= 45, "a burst is let through"
        for answer in refused:
            assert answer.code == "too_many_requests"
            assert 0 < answer.error["retryAfter"] <= 1
            assert answer.error["retryable"] is True
        with pytest.raises(ConnectionClosed):
            while True:
                await alice.socket.send(json.dumps({"type": "room:list", "ref": "flood"}))
                await asyncio.sleep(0)
        assert await alice.closed() == 4009


async def test_large_refused_frames_are_not_parsed_and_close_early(database: Database) -> None:
    """A frame of 100,000 bytes costs 7 units, so that 15 refused ones in a row are more than 100."""
    env = environment(database, ONRECORD_RATE_BURST="7", ONRECORD_RATE_PER_SECOND="1")
    large = json.dumps({"ref": "large", "type": "room:list", "padding": "x" * 100_000})
    async with running(env, "serve") as node, client(node.url, "alice") as alice:
        await alice.socket.send(large)
        for _ in range(15):
            await alice.socket.send(large[:-1])  # not JSON, which is noticed only where it is parsed
        assert await alice.closed() == 4009
        codes = [error["code"] for error in alice.events("error")]
        assert codes == ["malformed"] + ["too_many_requests"] * 15


async def test_a_connection_listens_to_a_bounded_number_of_rooms(database: Database) -> None:
    async with running(environment(database, ONRECORD_MAX_ROOMS="2"), "serve") as node:
        async with client(node.url, "alice") as alice:
            await alice.join("one")
            await alice.join("two")
            with pytest.raises(Refused) as refused:
                await alice.say("room:join", roomId="three")
            assert refused.value.code == "too_many_rooms"
        async with raw(node.url) as socket:
            rooms = {"one": 0, "two": 0, "three": 0}
            await socket.send(connect_frame(token=token("alice"), rooms=rooms))
            assert json.loads(await socket.recv())["code"] == "too_many_rooms"


async def test_a_stopping_server_tells_its_clients_to_come_back(database: Database) -> None:
    async with running(environment(database), "serve") as node, client(node.url, "alice") as alice:
        assert await node.stop() == 0
        assert await alice.closed() == 4000
