"""A peer that violates the protocol receives the matching close code at little cost to the server."""

import asyncio
import select
import socket
import struct
import time
from typing import cast

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from service.gateway.websocket.connection import WebSocketConnection
from service.runtime.cell_rate import UNLIMITED
from tests.support.clients.raw_websocket import BINARY, CLOSE, CONT, PING, TEXT, Peer, close_payload, frame
from tests.support.servers.websocket_server import (
    Heard,
    LiveServer,
    Message,
    Receive,
    Send,
    Serve,
    accept,
    echo,
    eventually,
    the_end,
)


def flood(peer: Peer, data: bytes, times: int) -> None:
    """Send until the server closes the connection."""
    try:
        for _ in range(times):
            peer.socket.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def test_a_frame_over_the_limit_closes_with_1009(serve: Serve) -> None:
    with connect(serve(echo).url) as client:
        client.send("a" * (128 * 1024 + 1))
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_sender_of_far_too_much_still_reads_why(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.send(TEXT, b"a" * 3_000_000)
        assert peer.read_close()[0] == 1009


def test_a_peer_may_finish_what_it_was_sending_when_we_failed_it(serve: Serve) -> None:
    size = 1 << 20
    with Peer(serve(echo).port).shake_hands() as peer:
        whole = frame(BINARY, bytes(size))
        peer.socket.sendall(whole[:14])
        assert peer.read_close()[0] == 1009
        for start in range(14, len(whole), 65536):  # a reset would fail one of these
            peer.socket.sendall(whole[start : start + 65536])
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.read_to_the_end() == b""


def test_a_header_that_announces_a_tebibyte_closes_at_once(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.socket.sendall(bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40))
        assert peer.read_close()[0] == 1009


def test_fragments_over_the_limit_together_close_with_1009(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.send(BINARY, bytes(100_000), fin=False)
        peer.send(CONT, bytes(100_000), fin=False)
        assert peer.read_close()[0] == 1009


@pytest.mark.parametrize("payload", [b"", b"a"])
def test_endless_fragments_close_with_1009(serve: Serve, payload: bytes) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.send(TEXT, fin=False)
        flood(peer, frame(CONT, payload, fin=False) * 1000, 60)
        assert peer.read_close()[0] == 1009


def test_as_many_fragments_as_allowed_are_a_message(serve: Serve) -> None:
    with Peer(serve(echo, max_fragments=16).port).shake_hands() as peer:
        for _ in range(2):  # the count starts again with each message
            peer.send(TEXT, b"0", fin=False)
            for number in range(1, 16):
                peer.send(CONT, b"%x" % number, fin=number == 15)
            assert peer.read() == (TEXT, b"0123456789abcdef")


@pytest.mark.parametrize("payload", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82"])
def test_text_that_is_no_utf_8_closes_with_1007(serve: Serve, payload: bytes) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.send(TEXT, payload)
        assert peer.read_close()[0] == 1007


def test_text_that_is_no_utf_8_followed_by_a_close_closes_with_1007(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.socket.sendall(frame(TEXT, b"\xff") + frame(0x8, close_payload(1000)))
        assert peer.read_close()[0] == 1007


@pytest.mark.parametrize(
    "broken",
    [
        frame(TEXT, b"naked", mask=False),
        frame(TEXT, b"compressed", reserved=4),
        frame(0x3, b"no such opcode"),
        frame(CONT, b"of nothing"),
        frame(TEXT, b"one", fin=False) + frame(TEXT, b"two"),
        frame(PING, b"in pieces", fin=False),
        frame(PING, bytes(126)),
        frame(0x8, b"1"),
        frame(0x8, close_payload(1005)),
    ],
)
def test_a_frame_against_the_protocol_closes_with_1002(serve: Serve, broken: bytes) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        heard.put((await receive())["text"])
        heard.put((await the_end(receive))[0])

    with Peer(serve(app).port).shake_hands() as peer:
        peer.socket.sendall(frame(TEXT, b"the last good one") + broken)
        assert peer.read_close()[0] == 1002
        assert [heard.next(), heard.next()] == ["the last good one", 1002]
        peer.read_to_the_end()


def test_pings_of_a_peer_that_does_not_read_are_answered_within_the_outbox(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        heard.put((await the_end(receive))[0])

    # So many pings exceed the rate limit, which is off here: the test is about the bytes of their answers.
    server = serve(app, max_outbox=65536, close_timeout=0.1, controls=UNLIMITED)
    with Peer(server.port, receive_buffer=4096).shake_hands() as peer:
        flood(peer, frame(PING, bytes(125)) * 500, 1000)
        assert heard.next() == 4008
    eventually(server.idle)


@pytest.mark.parametrize(
    "begun", [b"\x81", b"\x81\xfe\x01", frame(TEXT, b"hello")[:-1], frame(TEXT, b"a", fin=False) + b"\x80"]
)
def test_a_frame_that_does_not_come_to_its_end_closes_with_4008(serve: Serve, begun: bytes) -> None:
    server = serve(echo, frame_seconds=0.3)
    with Peer(server.port).shake_hands() as peer:
        peer.socket.sendall(begun)
        assert peer.read_close() == (4008, "a frame takes too long")
    eventually(server.idle)


def test_slow_frame_gets_no_extra_time_and_a_whole_one_resets_it(serve: Serve) -> None:
    server = serve(echo)
    with Peer(server.port).shake_hands() as peer:
        for _ in range(3):
            whole = frame(TEXT, b"hello")
            peer.socket.sendall(whole[:3])
            peer.socket.sendall(whole[3:] + whole[:2])
            peer.socket.sendall(whole[2:])
            assert [peer.read(), peer.read()] == [(TEXT, b"hello")] * 2
        assert server.call(lambda: len(protocol_of(server).frame_deadlines)) == 0
    with Peer(serve(echo, frame_seconds=0.5).port).shake_hands() as peer:
        for byte in frame(TEXT, b"*" * 120):
            peer.socket.sendall(bytes([byte]))
            if select.select([peer.socket], [], [], 0.05)[0]:
                break  # the close frame
        assert peer.read_close()[0] == 4008


def protocol_of(server: LiveServer) -> type[WebSocketConnection]:
    """Return the class of a server's connections."""
    ws = server.uvicorn.config.ws_protocol_class
    assert ws is not None
    return cast("type[WebSocketConnection]", ws)


def test_a_message_that_nobody_takes_is_not_an_unfinished_frame(serve: Serve) -> None:
    go = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        await go.wait()
        await the_end(receive)

    server = serve(app, frame_seconds=1.0)
    with Peer(server.port).shake_hands() as peer:
        peer.socket.sendall(frame(TEXT, b"*" * 1000) * 50 + frame(TEXT, b"last")[:4])
        time.sleep(1.5)
        peer.socket.sendall(frame(TEXT, b"last")[4:])
        server.call(go.set)
        peer.send(CLOSE, close_payload(1000))
        assert peer.read_close()[0] == 1000
