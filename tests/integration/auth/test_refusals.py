"""Every refusal at a door is one line of the log: with the door, the reason and the address, and without the token."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.clients.connecting import connect_frame
from tests.support.clients.native import client, raw
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, refusals, running
from tests.support.servers.databases import Database
from tests.support.waiting import until

MARK = "marked"
EXPIRED = token(MARK, expires=int(time.time()) - 60)
CHATLESS = token(MARK, scope="auditor")
BAD = f"{token(MARK)}{MARK}"
EARLY = token(MARK, nbf=4_070_908_800)
Visit = Callable[[Process, str], Coroutine[Any, Any, None]]


def native(frame: str | bytes, **headers: str) -> Visit:
    async def visit(node: Process, address: str) -> None:
        with suppress(ConnectionClosed, InvalidStatus):
            async with raw(node.url, additional_headers={"X-Forwarded-For": address, **headers}) as socket:
                await socket.send(frame)
                await socket.wait_closed()

    return visit


def http(path: str, given: str | None, **headers: str) -> Visit:
    async def visit(node: Process, address: str) -> None:
        known = {"Authorization": f"Bearer {given}"} if given else {}
        async with httpx.AsyncClient(base_url=node.address) as http:
            answer = await http.get(path, headers={"X-Forwarded-For": address, **known, **headers})
            assert answer.status_code >= 400

    return visit


def polling(packet: str, **headers: str) -> Visit:
    async def visit(node: Process, address: str) -> None:
        common = {"X-Forwarded-For": address, **headers}
        async with httpx.AsyncClient(base_url=node.address, headers=common) as http:
            opened = await http.get("/socket.io/?EIO=4&transport=polling")
            if opened.status_code != 200:
                return
            sid = json.loads(opened.text[1:])["sid"]
            await http.post(f"/socket.io/?EIO=4&transport=polling&sid={sid}", content=packet)
            with suppress(httpx.HTTPError):
                await http.get(f"/socket.io/?EIO=4&transport=polling&sid={sid}")

    return visit


def entering(given: str) -> Visit:
    return polling(f"40{json.dumps({'token': given})}")


async def refreshing(node: Process, address: str) -> None:
    async with raw(node.url, additional_headers={"X-Forwarded-For": address}) as socket:
        await socket.send(connect_frame(token=token("alice")))
        await socket.recv()
        await socket.send(json.dumps({"type": "auth:refresh", "ref": "1", "token": EXPIRED}))
        assert json.loads(await socket.recv())["code"] == "token_expired"


EVIL = {"Origin": "https://evil.example"}
VISITS: list[tuple[Visit, dict[str, object]]] = [
    (
        native(connect_frame(token=BAD)),
        {"door": "native", "reason": "token_invalid", "problem": "bad_signature"},
    ),
    (native(connect_frame()), {"door": "native", "reason": "token_invalid", "problem": "none was given"}),
    (native(connect_frame(token=EXPIRED)), {"door": "native", "reason": "token_expired"}),
    (native(connect_frame(token=EARLY)), {"door": "native", "reason": "token_not_yet_valid"}),
    (native(connect_frame(token=CHATLESS)), {"door": "native", "reason": "not_allowed"}),
    (
        native(json.dumps({"type": "connect", "protocol": 2})),
        {"door": "native", "reason": "protocol_version"},
    ),
    (native("not JSON"), {"door": "native", "reason": "malformed"}),
    (native(b"binary"), {"door": "native", "reason": "malformed"}),
    (native("x" * 200_000), {"door": "native", "reason": "too_large"}),
    (native("", **EVIL), {"door": "native", "reason": "foreign_origin", "origin": "https://evil.example"}),
    (entering(BAD), {"door": "socketio", "reason": "token_invalid", "problem": "bad_signature"}),
    (entering(EXPIRED), {"door": "socketio", "reason": "token_expired"}),
    (entering(CHATLESS), {"door": "socketio", "reason": "not_allowed"}),
    (polling('42["room:list"]'), {"door": "socketio", "reason": "malformed"}),
    (polling("", **EVIL), {"door": "socketio", "reason": "foreign_origin", "origin": "https://evil.example"}),
    (
        http("/socket.io/?EIO=3&transport=polling", None),
        {"door": "socketio", "reason": "unsupported_version"},
    ),
    (http("/socket.io/?EIO=4&transport=carrier", None), {"door": "socketio", "reason": "unknown_transport"}),
    (http("/api/me/rooms", None), {"door": "http", "reason": "token_invalid", "problem": "none was given"}),
    (http("/api/me/rooms", BAD), {"door": "http", "reason": "token_invalid", "problem": "bad_signature"}),
    (http("/api/me/rooms", CHATLESS), {"door": "http", "reason": "not_allowed"}),
    (http("/audit/events", token(MARK)), {"door": "http", "reason": "not_allowed"}),
    (
        http("/api/me/rooms", token("alice"), **EVIL),
        {"door": "http", "reason": "foreign_origin", "origin": "https://evil.example"},
    ),
    (http("/metrics", BAD), {"door": "metrics", "reason": "token_invalid"}),
    (refreshing, {"door": "native", "reason": "token_expired"}),
]


async def test_every_refusal_is_one_line_with_reason_and_address(database: Database) -> None:
    env = environment(
        database,
        ONRECORD_TRUSTED_PROXIES="127.0.0.1",
        ONRECORD_METRICS_TOKEN="of the scraper",
        ONRECORD_CONNECT_TIMEOUT="60",
    )
    for first in range(0, len(VISITS), 15):  # more lines would be withheld
        async with running(env, "serve") as node:
            for number, (visit, line) in enumerate(VISITS[first : first + 15]):
                address = f"203.0.113.{number}"
                await visit(node, address)
                await until(partial(lambda count: len(refusals(node)) > count, number))
                said = refusals(node)
                assert len(said) == number + 1, said
                assert said[-1].items() >= {**line, "address": address}.items()
        assert MARK not in "".join(node.words)


async def test_silence_is_a_refusal_at_both_doors(database: Database) -> None:
    async with (
        running(environment(database, ONRECORD_CONNECT_TIMEOUT="0.5"), "serve") as node,
        raw(node.url) as socket,
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        await http.get("/socket.io/?EIO=4&transport=polling")
        await socket.wait_closed()
        await until(lambda: len(refusals(node)) >= 2)
    assert {(line["door"], line["reason"]) for line in refusals(node)} == {
        ("native", "too_late"),
        ("socketio", "too_late"),
    }


async def test_a_flood_of_refusals_leaves_few_lines_and_their_number(database: Database) -> None:
    async with running(environment(database), "serve") as node:
        for _ in range(60):
            await native(connect_frame(token=BAD))(node, "")
        async with client(node.url, "alice"):
            pass
        assert len(refusals(node)) < 60
        async with asyncio.timeout(60):
            while sum(line["withheld"] for line in refusals(node)) == 0:
                await native(connect_frame(token=BAD))(node, "")
