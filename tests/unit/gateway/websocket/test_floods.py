"""Floods of six-byte frames: one turn of the loop parses few of them, and a flood ends the connection.

No test depends on time. The loop is blocked until the kernel holds the whole flood, so the first read returns as many
bytes as a read can; the tests count the frames that are parsed between two turns of the loop.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.gateway.websocket.connection import WebSocketConnection
from service.gateway.websocket.frame_reader import FrameReader
from service.gateway.websocket.parser import Parser
from service.runtime.cell_rate import CONTROLS, UNLIMITED
from tests.support.clients.raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Peer,
    close_payload,
    frame,
)
from tests.support.clients.turns import Turns
from tests.support.servers.websocket_server import (
    PATIENCE,
    Heard,
    LiveServer,
    Message,
    Receive,
    Send,
    Serve,
    accept,
    echo,
    the_end,
)

FLOOD = 120_000
"""Bytes; the kernel buffers as many between two sockets."""

MOST_A_TURN = 64
"""Frames: twice the limit of one call, since uvloop may read again in the turn that parsed leftover input."""

CLOSED = frame(CLOSE, close_payload(1000))


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    turns, whole = Turns(), Parser._frame

    def counted(parser: Parser) -> Any:
        frame = whole(parser)
        if frame is not None:
            turns.did()
        return frame

    monkeypatch.setattr(Parser, "_frame", counted)
    return turns


def at_once(server: LiveServer, peer: Peer, data: bytes) -> None:
    """Start the server's reading after the kernel has buffered all of `data`."""
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert go.wait(PATIENCE)

    server.uvicorn.loop.call_soon_threadsafe(hold)
    assert held.wait(PATIENCE)
    peer.socket.sendall(data)
    go.set()


def times(one: bytes) -> bytes:
    return one * (FLOOD // len(one))


FLOODS = {
    "pongs": times(frame(PONG)),
    "pings": times(frame(PING)),
    "empty fragments": frame(TEXT, fin=False) + times(frame(CONT, fin=False)),
    "fragments of a byte": frame(BINARY, fin=False) + times(frame(CONT, b"a", fin=False)),
    "messages of one empty frame": times(frame(TEXT)),
    "messages of two empty fragments": times(frame(TEXT, fin=False) + frame(CONT)),
    "all of them": times(frame(TEXT, fin=False) + frame(PONG) + frame(PING) + frame(CONT) + frame(BINARY)),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_one_read_is_parsed_some_dozens_of_frames_a_turn(serve: Serve, turns: Turns, flood: str) -> None:
    server = serve(take_all, max_fragments=10**9, controls=UNLIMITED)
    with Peer(server.port).shake_hands() as peer:
        last = frame(CONT) + CLOSED if "fragments of" in flood or flood == "empty fragments" else CLOSED
        at_once(server, peer, FLOODS[flood] + last)
        assert peer.read_close()[0] == 1000
    assert turns.total > FLOOD / 8
    assert turns.most <= MOST_A_TURN


async def take_all(scope: Message, receive: Receive, send: Send) -> None:
    await accept(scope, receive, send)
    await the_end(receive)


def test_others_are_served_between_two_turns_of_a_flood(serve: Serve) -> None:
    server = serve(echo, controls=UNLIMITED)
    with Peer(server.port).shake_hands() as flooding, Peer(server.port).shake_hands() as other:
        other.send(TEXT, b"before")
        assert other.read() == (TEXT, b"before")
        other.send(TEXT, b"beside")
        at_once(server, flooding, times(frame(PONG)))
        assert other.read() == (TEXT, b"beside")
        flooding.send(TEXT, b"last")
        assert flooding.read() == (TEXT, b"last")


@pytest.mark.parametrize(
    "one", [frame(PONG), frame(PING), frame(PONG, bytes(125))], ids=["pong", "ping", "long"]
)
def test_a_flood_of_control_frames_closes_with_4009(serve: Serve, turns: Turns, one: bytes) -> None:
    heard = Heard()
    with Peer(serve(until_the_end(heard)).port).shake_hands() as peer:
        peer.socket.sendall(one * 2000)
        assert peer.read_close() == (4009, "too many control frames")
        assert heard.next() == (4009, "too many control frames")
    assert turns.total < 1.5 * CONTROLS.burst


@pytest.mark.parametrize("payload", [b"", b"a", b"a" * 63], ids=["empty", "a byte", "63 bytes"])
def test_a_flood_of_messages_in_crumbs_closes_with_4009(serve: Serve, payload: bytes) -> None:
    heard = Heard()
    message = (
        frame(TEXT, fin=False) + frame(CONT, payload, fin=False) * 1000 + frame(CONT)
    )  # within `max_fragments`
    with Peer(serve(until_the_end(heard)).port).shake_hands() as peer:
        peer.socket.sendall(message * 4)
        assert peer.read_close()[0] == 4009
        assert heard.next()[0] == 4009


def until_the_end(heard: Heard) -> Callable[[Message, Receive, Send], Any]:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        heard.put(await the_end(receive))

    return app


def test_nothing_is_parsed_after_4009(serve: Serve, turns: Turns) -> None:
    server = serve(take_all)
    with Peer(server.port).shake_hands() as peer:
        at_once(server, peer, times(frame(PONG)))
        assert peer.read_close()[0] == 4009
        parsed = turns.total
        peer.socket.sendall(times(frame(PONG)))
        peer.send(CLOSE, close_payload(4009))
        assert peer.read_to_the_end() == b""
        assert turns.total == parsed


def test_answers_to_pings_of_the_server_are_not_counted(serve: Serve) -> None:
    server = serve(echo, ping_interval=0.001, ping_timeout=PATIENCE)
    with Peer(server.port).shake_hands() as peer:
        for _ in range(int(2 * CONTROLS.burst)):
            opcode, payload = peer.read()
            assert opcode == PING
            peer.send(PONG, payload)
        peer.send(TEXT, b"still here")
        while (message := peer.read())[0] == PING:
            peer.send(PONG)
        assert message == (TEXT, b"still here")


def test_what_piled_up_at_an_honest_client_is_no_flood(serve: Serve) -> None:
    """After a network failure of three minutes, a client that pings each second sends all its pings at once."""
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.socket.sendall(frame(PING, b"?") * 180)
        assert [peer.read() for _ in range(180)] == [(PONG, b"?")] * 180
        peer.send(TEXT, b"hello")
        assert peer.read() == (TEXT, b"hello")


def test_the_rest_of_a_read_waits_and_the_socket_is_not_read(serve: Serve) -> None:
    """Unparsed input is bounded by one read, however much the peer sends."""
    most = 0
    server = serve(take_all, controls=UNLIMITED)
    whole = FrameReader._next_turn

    def measured(reader: FrameReader) -> None:
        nonlocal most
        most = max(most, len(reader._parser._bytes))
        assert reader._connection is not None
        assert not reader._connection.transport.is_reading()
        whole(reader)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameReader, "_next_turn", measured)
        with Peer(server.port).shake_hands() as peer:
            for _ in range(20):
                peer.socket.sendall(times(frame(PONG)))
            peer.send(CLOSE, close_payload(1000))
            assert peer.read_close()[0] == 1000
    assert 0 < most <= 256 * 1024


def test_a_silent_connection_has_no_task_and_no_timer_of_its_own(serve: Serve) -> None:
    server = serve(echo)
    with Peer(server.port).shake_hands() as peer:
        peer.socket.sendall(frame(PONG) * 200)
        peer.send(TEXT, b"hello")
        assert peer.read() == (TEXT, b"hello")
        (websocket,) = server.call(lambda: list(server.uvicorn.server_state.connections))
        assert isinstance(websocket, WebSocketConnection)
        held = {name: getattr(websocket, name) for name in WebSocketConnection.__slots__}
        held |= {name: getattr(websocket.reader, name) for name in FrameReader.__slots__}
        assert not [name for name, one in held.items() if isinstance(one, asyncio.Handle)]
        assert held["_turn_scheduled"] is False
