"""Engine.IO over real sockets: what the reference does, and what its own suite does not reach."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from service.gateway.engineio import Settings
from tests.support.conformance import apps
from tests.support.conformance.peers import Served, closed, poller, serving, websocket

PATIENT = Settings(ping_interval=60, ping_timeout=60, max_payload=1000, max_packet=500, max_outbox=10_000)
"""Heartbeats so slow that nothing in a test can be due to them."""


@pytest.fixture
async def patient() -> AsyncIterator[Served]:
    async with serving(*apps.engineio(PATIENT), "/engine.io/") as server:
        yield server


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("transport=polling", 5),
        ("EIO=abc&transport=polling", 5),
        ("EIO=3&transport=polling", 5),
        ("EIO=4", 0),
        ("EIO=4&transport=abc", 0),
        ("EIO=4&transport=websocket", 3),
        ("EIO=4&transport=polling&sid=nobody", 1),
    ],
)
async def test_a_wrong_request_is_refused_with_its_code(engineio: Served, query: str, code: int) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://{engineio.address}?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    "query",
    ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc",
     "EIO=4&transport=polling", "EIO=4&transport=websocket&sid=nobody"],
)  # fmt: skip
async def test_a_wrong_upgrade_is_refused(engineio: Served, query: str) -> None:
    with pytest.raises(InvalidStatus) as error:
        async with websocket(engineio, query):
            pass
    assert error.value.response.status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_session_opens_by_get_only(engineio: Served, method: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.request(method, f"http://{engineio.address}?EIO=4&transport=polling")
    assert (answer.status_code, answer.json()["code"]) == (400, 2)


async def test_a_page_elsewhere_may_ask_before_it_posts(engineio: Served) -> None:
    headers = {"Origin": "https://x.example", "Access-Control-Request-Method": "POST"}
    async with httpx.AsyncClient() as http:
        answer = await http.options(f"http://{engineio.address}?EIO=4&transport=polling", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_both_transports_open_with_the_same_facts(engineio: Served) -> None:
    facts = {"pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000}
    async with poller(engineio) as one, websocket(engineio) as socket:
        other = json.loads(str(await socket.recv())[1:])
        assert other.pop("sid") != one.sid
        assert other == {**facts, "upgrades": []}


async def test_messages_travel_both_ways_over_polling_in_order(patient: Served) -> None:
    async with poller(patient) as session:
        await session.say("4hello\x1ebAQIDBA==\x1e4" + "é" * 3)
        answer = await session.poll()
        assert answer.text == "4hello\x1ebAQIDBA==\x1e4ééé"
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_poll_waits_until_there_is_something(patient: Served) -> None:
    async with poller(patient) as session:
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.05)
        assert not polling.done()
        await session.say("4late")
        assert (await polling).text == "4late"


async def test_messages_travel_both_ways_over_websocket(patient: Served) -> None:
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send("4hello")
        assert await socket.recv() == "4hello"
        await socket.send(b"\x01\x02")
        assert await socket.recv() == b"\x01\x02"


@pytest.mark.parametrize(
    "garbage", ["abc", "", "7", "0", "2", "2probe", "5", "6", "3x", "4a\x1eabc", "b!", "4a\x1e"]
)
async def test_a_garbage_payload_ends_the_session_at_once(patient: Served, garbage: str) -> None:
    async with poller(patient) as session:
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.02)
        refused = await session.post(garbage)
        assert (refused.status_code, refused.json()) == (400, {"code": 3, "message": "Bad request"})
        assert (await polling).text.endswith("1")
        assert await session.is_unknown()


@pytest.mark.parametrize("garbage", ["abc", "", "7", "0", "2", "2probe", "5", "6", "3x", "bAQ=="])
async def test_a_garbage_frame_ends_the_session_at_once(patient: Served, garbage: str) -> None:
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send(garbage)
        assert await closed(socket) == 4501


async def test_a_binary_body_ends_the_session(patient: Served) -> None:
    async with poller(patient) as session:
        refused = await session.post(b"4hello", **{"Content-Type": "application/octet-stream"})
        assert refused.status_code == 400
        assert await session.is_unknown()


async def test_a_body_or_message_over_the_limit_is_too_large(patient: Served) -> None:
    for body in ("4" + "x" * 1000, "4a\x1e4" + "x" * 501):
        async with poller(patient) as session:
            assert (await session.post(body)).status_code == 413
            assert await session.is_unknown()
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send("4" + "x" * 501)
        assert await closed(socket) == 1009


async def test_two_polls_at_once_end_the_session(patient: Served) -> None:
    async with poller(patient) as session:
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.02)
        assert (await session.poll()).status_code == 400
        assert (await polling).text == "1"
        assert await session.is_unknown()


async def test_a_poll_that_is_broken_off_ends_the_session(patient: Served) -> None:
    async with poller(patient) as session:
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.05)
        polling.cancel()
        async with asyncio.timeout(10):
            while len(patient.engine):
                await asyncio.sleep(0.01)
        assert await session.is_unknown()


async def test_a_client_says_goodbye_over_either_transport(patient: Served) -> None:
    async with poller(patient) as session:
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.02)
        await session.say("1")
        assert (await polling).text == "6"
        assert await session.is_unknown()
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send("1")
        assert await closed(socket) == 1000


async def test_whoever_answers_pings_stays_and_whoever_does_not_goes(engineio: Served) -> None:
    async with poller(engineio) as session, websocket(engineio) as socket, websocket(engineio) as silent:
        await socket.recv()
        await silent.recv()
        for _ in range(3):
            assert (await session.poll()).text == "2"
            await session.say("3")
            assert await socket.recv() == "2"
            await socket.send("3")
        assert await closed(silent) == 4010
        await asyncio.sleep(0.5)
        assert await session.is_unknown()
    async with asyncio.timeout(10):
        while len(engineio.engine):
            await asyncio.sleep(0.01)


async def test_whoever_polls_without_a_pong_is_told_the_end(engineio: Served) -> None:
    async with poller(engineio) as session:
        assert (await session.poll()).text == "2"
        assert (await session.poll()).text == "1"
        assert await session.is_unknown()


def upgrading(sid: str) -> str:
    return f"EIO=4&transport=websocket&sid={sid}"


async def test_an_upgrade_carries_on_with_what_no_poll_has_fetched(patient: Served) -> None:
    async with poller(patient) as session:
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.02)
        async with websocket(patient, upgrading(session.sid)) as socket:
            await socket.send("2probe")
            assert await socket.recv() == "3probe"
            assert (await polling).text == "6"
            assert (await session.poll()).text == "6"  # a poll that came too late to be answered by the probe
            await session.say("4one\x1ebAQI=\x1e4three")
            await socket.send("5")
            assert [await socket.recv() for _ in range(3)] == ["4one", b"\x01\x02", "4three"]
            await socket.send("4four")
            assert await socket.recv() == "4four"
            for answer in (await session.poll(), await session.post("4x")):
                assert (answer.status_code, answer.json()["code"]) == (400, 3)
            async with websocket(patient, upgrading(session.sid)) as second:
                assert await closed(second) == 1000
            await socket.send("4five")
            assert await socket.recv() == "4five"


async def test_a_second_socket_is_refused_while_the_first_upgrades(patient: Served) -> None:
    async with poller(patient) as session:
        async with websocket(patient, upgrading(session.sid)) as first:
            async with websocket(patient, upgrading(session.sid)) as second:
                assert await closed(second) == 1000
            await first.send("2probe")
            assert await first.recv() == "3probe"


@pytest.mark.parametrize("instead", ["4hello", "3", "abc", "2"])
async def test_an_upgrade_that_goes_wrong_leaves_the_session_to_its_polls(
    patient: Served, instead: str
) -> None:
    async with poller(patient) as session:
        async with websocket(patient, upgrading(session.sid)) as socket:
            await socket.send(instead)
            assert await closed(socket) == 4501
        async with websocket(patient, upgrading(session.sid)):
            pass
        await session.say("4hello")
        assert (await session.poll()).text == "4hello"


async def test_an_upgrade_that_is_not_finished_in_time_is_given_up() -> None:
    hasty = Settings(
        ping_interval=60,
        ping_timeout=60,
        max_payload=1000,
        max_packet=500,
        max_outbox=10_000,
        upgrade_timeout=0.1,
    )
    async with serving(*apps.engineio(hasty), "/engine.io/") as server, poller(server) as session:
        async with websocket(server, upgrading(session.sid)) as socket:
            await socket.send("2probe")
            assert await socket.recv() == "3probe"
            assert await closed(socket) == 1000
        await session.say("4hello")
        assert (await session.poll()).text == "4hello"


async def test_a_client_that_does_not_fetch_is_closed_and_nothing_grows(patient: Served) -> None:
    async with poller(patient) as session:
        for _ in range(19):
            await session.say("4" + "x" * 499)
        assert len(patient.engine) == 1
        assert (await session.post("4" + "x" * 490 + "\x1e4" + "x" * 490)).status_code == 400
        assert await session.is_unknown()


async def test_unanswered_polls_do_not_hold_up_a_shutdown() -> None:
    begun = time.monotonic()
    async with serving(*apps.engineio(PATIENT), "/engine.io/") as server, poller(server) as session:
        polling = asyncio.create_task(session.poll())
        async with websocket(server) as socket:
            await socket.recv()
            server.stop()
            assert (await polling).text == "1"
            assert await closed(socket) == 4000
    assert time.monotonic() - begun < PATIENT.ping_interval


async def test_missing_body_keeps_no_session_and_does_not_delay_shutdown() -> None:
    begun = time.monotonic()
    async with serving(*apps.engineio(PATIENT), "/engine.io/") as server, poller(server) as session:
        host, _, path = server.address.partition("/")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        target = f"/{path}?EIO=4&transport=polling&sid={session.sid}"
        writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4x".encode())
        await asyncio.sleep(0.05)
        server.stop()
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
    assert time.monotonic() - begun < PATIENT.ping_interval
