"""Socket.IO over real sockets: what the reference does, and what its own suite does not reach."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from service.gateway.engineio import Connection, Engine, Settings
from service.gateway.socketio.server import Client, ConnectRefused, Server
from service.gateway.socketio.socket import Socket
from service.protocol.socketio import engineio
from service.protocol.socketio.packets import Packet
from service.runtime.cell_rate import CONTROLS
from tests.support.clients.turns import Turns
from tests.support.conformance import apps
from tests.support.conformance.peers import Served, closed, poller, serving, websocket


@pytest.fixture
async def patient() -> AsyncIterator[Served]:
    """Heartbeats so slow that nothing in a test can be due to them."""
    settings = Settings(
        ping_interval=60, ping_timeout=60, max_payload=10_000, max_packet=10_000, max_outbox=10_000
    )
    async with serving(*apps.socketio(settings), "/socket.io/") as server:
        yield server


async def entered(socket: ClientConnection) -> None:
    await socket.recv()
    await socket.send("40")
    await socket.recv()
    assert await socket.recv() == '42["auth",{}]'


@pytest.mark.parametrize(
    ("namespace", "auth"), [("", ""), ("", '{"token":"123"}'), ("/custom,", ""), ("/custom,", '{"a":1}')]
)
async def test_a_client_enters_a_namespace(patient: Served, namespace: str, auth: str) -> None:
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send(f"40{namespace}{auth}")
        answer = str(await socket.recv())
        assert answer.startswith(f"40{namespace}")
        assert json.loads(answer.removeprefix(f"40{namespace}")).keys() == {"sid"}
        assert await socket.recv() == f'42{namespace}["auth",{auth or "{}"}]'


async def test_an_unknown_namespace_is_refused_and_the_connection_lives(patient: Served) -> None:
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send("40/random")
        assert await socket.recv() == '44/random,{"message":"Invalid namespace"}'
        await socket.send("40")
        assert str(await socket.recv()).startswith("40{")


async def test_namespaces_of_one_connection_are_apart(patient: Served) -> None:
    async with websocket(patient) as socket:
        await entered(socket)
        await socket.send("40/custom")
        await socket.recv()
        await socket.recv()
        await socket.send("41/custom")
        await socket.send('42["message","to main"]')
        assert await socket.recv() == '42["message-back","to main"]'


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']),
        (['42456["message-with-ack",1,"2"]'], ['43456[1,"2"]']),
        (
            ['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\1", b"\2"],
            [
                '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
                b"\1",
                b"\2",
            ],
        ),
        (
            ['451-7["message-with-ack",{"_placeholder":true,"num":0}]', b"\1"],
            ['461-7[{"_placeholder":true,"num":0}]', b"\1"],
        ),
    ],
)
async def test_events_and_acks_come_back_as_they_went(
    patient: Served, said: list[str | bytes], answered: list[Any]
) -> None:
    async with websocket(patient) as socket:
        await entered(socket)
        for message in said:
            await socket.send(message)
        assert [await socket.recv() for _ in answered] == answered


async def test_the_same_over_polling_with_bytes_in_base64(patient: Served) -> None:
    async with poller(patient) as session:
        await session.say("40")
        await session.poll()
        await session.say('451-7["message-with-ack",{"_placeholder":true,"num":0}]\x1ebAQ==')
        assert (await session.poll()).text == '461-7[{"_placeholder":true,"num":0}]\x1ebAQ=='


GARBAGE = [
    ["4abc"], ["42{}"], ['42abc["message"]'], ["42"], ["42[NaN]"], ['42["message",NaN]'], ['42["disconnect"]'],
    ['42["connect"]'], ["40"], ["44{}"], ["43[]"], ['42/custom,["message"]'], ["41/custom"], ['4"'], ["4"],
    ['4511-["message"]'], ['451-["message",{"_placeholder":true,"num":0}]', '42["message"]'],
]  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=str)
async def test_a_garbage_packet_ends_its_sender_at_once_and_nobody_else(
    patient: Served, garbage: list[str]
) -> None:
    async with websocket(patient) as bad, websocket(patient) as good, poller(patient) as session:
        await entered(bad)
        await entered(good)
        await session.say("40")
        await session.poll()
        for message in garbage:
            await bad.send(message)
        assert await closed(bad) == 4501
        assert (await session.post("\x1e".join(garbage))).status_code == 400
        assert await session.is_unknown()
        await good.send('42["message","still here"]')
        assert await good.recv() == '42["message-back","still here"]'


@pytest.mark.parametrize("first", ['42["message"]', "41", "4abc", "40[]", "431[]"])
async def test_anything_but_connect_first_ends_the_connection_at_once(patient: Served, first: str) -> None:
    async with websocket(patient) as socket:
        await socket.recv()
        await socket.send(first)
        assert await closed(socket) == 4501


async def test_an_attachment_of_nothing_ends_the_connection(patient: Served) -> None:
    async with websocket(patient) as socket:
        await entered(socket)
        await socket.send(b"\x01")
        assert await closed(socket) == 4501


async def test_an_ack_that_nobody_asked_for_is_passed_over(patient: Served) -> None:
    async with websocket(patient) as socket:
        await entered(socket)
        await socket.send("437[]")
        await socket.send('42["message"]')
        assert await socket.recv() == '42["message-back"]'


async def test_whoever_never_connects_is_closed_on_both_transports(patient: Served) -> None:
    async with websocket(patient) as socket, poller(patient) as session:
        await socket.recv()
        assert (await session.poll()).text == "1"
        assert await session.is_unknown()
        assert await closed(socket) == 4500


async def test_leaving_the_last_namespace_closes_unless_another_is_entered(
    patient: Served,
) -> None:
    async with websocket(patient) as socket:
        await entered(socket)
        await socket.send("41")
        await socket.send("40")
        assert str(await socket.recv()).startswith("40{")
        await socket.recv()
        await socket.send("41")
        assert await closed(socket) == 4500


async def test_leaving_does_not_end_the_connection_at_once(socketio: Served) -> None:
    async with websocket(socketio) as socket:
        await entered(socket)
        await socket.send("41")
        assert await socket.recv() == "2"


async def test_a_client_that_upgrades_hears_everything_once_and_in_order(patient: Served) -> None:
    async with poller(patient) as session:
        await session.say("40")
        await session.poll()
        async with websocket(patient, f"EIO=4&transport=websocket&sid={session.sid}") as socket:
            for number in range(3):
                await session.say(f'42["message",{number}]')
            await socket.send("2probe")
            assert await socket.recv() == "3probe"
            polled = (await session.poll()).text.split("\x1e")
            for number in range(3, 6):
                await session.say(f'42["message",{number}]')
            await socket.send("5")
            await socket.send('42["message",6]')
            heard = polled + [str(await socket.recv()) for _ in range(7 - len(polled))]
        assert heard == [f'42["message-back",{number}]' for number in range(7)]


async def test_a_stopping_server_closes_transports_and_says_no_disconnect(patient: Served) -> None:
    async with websocket(patient) as socket, poller(patient) as session:
        await entered(socket)
        await session.say("40")
        await session.poll()
        polling = asyncio.create_task(session.poll())
        await asyncio.sleep(0.02)
        patient.stop()
        assert (await polling).text == "1"
        assert await closed(socket) == 4000


# What costs its sender next to nothing.


@pytest.mark.parametrize("again", ["40/random", "40/another,{}"])
async def test_three_connects_are_refused_and_a_fourth_ends_the_connection(again: str) -> None:
    _, _, engine = refusing(60)
    async with (
        serving(apps.served(engine), engine, "/socket.io/") as served,
        websocket(served) as socket,
        poller(served) as session,
    ):
        await socket.recv()
        for _ in range(4):
            await socket.send(again)
        assert [str(await socket.recv())[:2] for _ in range(3)] == ["44"] * 3
        assert await closed(socket) == 4501
        assert (await session.post("\x1e".join([again] * 4))).status_code == 400
        assert await session.is_unknown()


class Refusing(apps.Talk):
    """A namespace that decides when it is let to, and then lets in who says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def connect(self, socket: Socket, packet: Packet) -> None:
        self.asked.set()
        await self.go.wait()
        if not packet.data:
            raise ConnectRefused("no", {})
        await super().connect(socket, packet)


def refusing(timeout: float) -> tuple[Refusing, Server, Engine]:
    namespace = Refusing()
    server = Server({"/": namespace}, timeout, 1000)
    settings = Settings(
        ping_interval=60, ping_timeout=60, max_payload=10_000, max_packet=10_000, max_outbox=10_000
    )
    return namespace, server, Engine(settings, partial(Client, server))


async def test_a_refused_connect_moves_no_deadline() -> None:
    _, server, engine = refusing(60)
    async with serving(apps.served(engine), engine, "/socket.io/") as served, websocket(served) as socket:
        await socket.recv()
        (due,) = server.unauthenticated._deadlines.values()
        for _ in range(3):
            await socket.send("40")
            assert str(await socket.recv()).startswith("44")
            assert [*server.unauthenticated._deadlines.values()] == [due]
        await socket.send('40{"token":1}')
        assert str(await socket.recv()).startswith("40{")
        await socket.recv()
        assert (len(server.unauthenticated), server.waiting) == (0, 0)


@pytest.mark.parametrize("admitted", [True, False])
async def test_deadline_that_passes_in_a_namespace_handler_counts_afterwards(*, admitted: bool) -> None:
    namespace, server, engine = refusing(0.2)
    async with serving(apps.served(engine), engine, "/socket.io/") as served, websocket(served) as socket:
        await socket.recv()
        namespace.go.clear()
        await socket.send('40{"token":1}' if admitted else "40")
        await namespace.asked.wait()
        assert server.deciding == 1
        while len(server.unauthenticated):
            await asyncio.sleep(0.01)
        namespace.go.set()
        if admitted:
            assert str(await socket.recv()).startswith("40{")
            await socket.recv()
            await socket.send('42["message"]')
            assert await socket.recv() == '42["message-back"]'
        else:
            assert await closed(socket) == 4500
        assert server.deciding == 0


@pytest.mark.parametrize(
    "flood", [["3"], ["431[]"], ["41", "40"]], ids=["pongs", "acks", "leaving and entering"]
)
async def test_a_flood_of_packets_without_a_message_closes_with_4009(
    patient: Served, flood: list[str]
) -> None:
    async with websocket(patient) as socket, poller(patient) as session:
        await entered(socket)
        sending = asyncio.create_task(send_all(socket, flood * 1000))
        assert await closed_after(socket) == 4009
        await asyncio.gather(sending, return_exceptions=True)
        await session.say("40")
        await session.poll()
        assert (await session.post("\x1e".join(flood * 300))).status_code == 400
        assert await session.is_unknown()


async def send_all(socket: ClientConnection, packets: list[str]) -> None:
    for packet in packets:
        await socket.send(packet)


async def closed_after(socket: ClientConnection) -> int | None:
    """Read all that comes; return the close code."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed:
        return socket.close_code


async def test_a_flood_of_probes_closes_with_4009(patient: Served) -> None:
    async with poller(patient) as session:
        async with websocket(patient, f"EIO=4&transport=websocket&sid={session.sid}") as socket:
            sending = asyncio.create_task(send_all(socket, ["2probe"] * 1000))
            await closed_after(socket)
            await asyncio.gather(sending, return_exceptions=True)
        assert await session.is_unknown()


async def test_heartbeats_and_acks_at_their_usual_pace_are_no_flood(socketio: Served) -> None:
    """Pings come three times a second here; what is answered to them is not counted at all."""
    async with websocket(socketio) as socket:
        await entered(socket)
        for _ in range(5):
            assert await socket.recv() == "2"
            await socket.send("3")
        for number in range(int(CONTROLS.burst) - 10):
            await socket.send(f"43{number}[]")
        await socket.send('42["message"]')
        while (packet := await socket.recv()) == "2":
            await socket.send("3")
        assert packet == '42["message-back"]'


@pytest.mark.parametrize("packet", ["3", '42["nothing"]', "bAQ==", "4"])
async def test_one_post_takes_some_dozens_of_packets_a_turn(
    packet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, decoded = Turns(), Turns()

    async def take(_connection: Connection, _packet: object) -> None:
        taken.did()

    monkeypatch.setattr(Connection, "take", take)
    decode_piece = engineio.decode_piece

    def decode(piece: str) -> engineio.Packet:
        decoded.did()
        return decode_piece(piece)

    monkeypatch.setattr(engineio, "decode_piece", decode)
    app, engine = apps.engineio(Settings(
        ping_interval=60, ping_timeout=60, max_payload=100_000, max_packet=10_000, max_outbox=10_000
    ))  # fmt: skip
    async with serving(app, engine, "/engine.io/") as served, poller(served) as session:
        await session.say("\x1e".join([packet] * engineio.MAX_PACKETS))
    assert (taken.total, decoded.total) == (engineio.MAX_PACKETS, engineio.MAX_PACKETS)
    assert max(taken.most, decoded.most) <= 64
