"""Messages arrive complete, unchanged and in order."""

import asyncio

import pytest
from websockets.sync.client import connect

from service.gateway.websocket.frames import text_frame
from tests.support.clients.raw_websocket import BINARY, CONT, PING, PONG, TEXT, Peer, frame
from tests.support.servers.websocket_server import (
    Heard,
    Message,
    Receive,
    Send,
    Serve,
    accept,
    echo,
    eventually,
    the_end,
)


def test_messages_are_echoed_in_order(serve: Serve) -> None:
    with connect(serve(echo).url) as client:
        for number in range(300):
            client.send(f"message {number}")
        assert [client.recv() for _ in range(300)] == [f"message {number}" for number in range(300)]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 131072])
def test_text_and_bytes_of_every_length_come_back(serve: Serve, size: int) -> None:
    with connect(serve(echo).url) as client:
        for message in ("a" * size, b"\xff" * size):
            client.send(message)
            assert client.recv() == message


def test_fragmented_message_is_one_message_and_allows_pings_between(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.send(TEXT, b"gr\xc3", fin=False)
        peer.send(PING, b"?")
        peer.send(CONT, b"\xbc\xc3\x9f", fin=False)
        peer.send(CONT, b"e")
        assert peer.read() == (PONG, b"?")
        assert peer.read() == (TEXT, "grüße".encode())


def test_messages_that_share_a_segment_are_all_delivered(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.socket.sendall(b"".join(frame(BINARY, b"%d" % number) for number in range(3000)))
        assert [peer.read() for _ in range(3000)] == [(BINARY, b"%d" % number) for number in range(3000)]


def test_a_message_sent_byte_by_byte_is_one_message(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        for byte in frame(TEXT, b"slowly"):
            peer.socket.sendall(bytes([byte]))
        assert peer.read() == (TEXT, b"slowly")


def test_a_thousand_prebuilt_frames_arrive_in_order_and_once(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        for number in range(1000):
            transport.write(text_frame(f"{number:0200}".encode()))
        transport.close(1000)

    with connect(serve(app).url) as client:
        assert [int(message) for message in client] == list(range(1000))


def test_frames_joined_in_one_write_arrive_one_by_one(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.write(b"".join(text_frame(b"%d" % number) for number in range(100)))
        await the_end(receive)

    with connect(serve(app).url) as client:
        assert [client.recv() for _ in range(100)] == [str(number) for number in range(100)]


def test_a_write_and_an_asgi_send_keep_their_order(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        for number in range(0, 100, 2):
            transport.write(text_frame(b"%d" % number))
            await send({"type": "websocket.send", "text": str(number + 1)})
        await the_end(receive)

    with connect(serve(app).url) as client:
        assert [client.recv() for _ in range(100)] == [str(number) for number in range(100)]


def test_a_frame_sent_before_the_handshake_is_complete_is_read_after_it(serve: Serve) -> None:
    go, started = asyncio.Event(), Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        started.put(True)
        await go.wait()
        await echo(scope, receive, send)

    server = serve(app)
    with Peer(server.port) as peer:
        assert started.next()
        peer.send(PING, b"early")
        peer.send(TEXT, b"bird")
        server.call(go.set)
        peer.shake_hands()
        assert [peer.read(), peer.read()] == [(PONG, b"early"), (TEXT, b"bird")]


def test_a_write_before_the_handshake_is_complete_is_a_programming_error(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = scope["extensions"]["onrecord.transport"]
        with pytest.raises(RuntimeError, match="the WebSocket handshake is not complete"):
            transport.write(text_frame(b"early"))
        with pytest.raises(RuntimeError, match="the WebSocket handshake is not complete"):
            transport.close(4000)
        heard.put(transport.closing)
        await echo(scope, receive, send)

    with connect(serve(app).url) as client:
        assert heard.next() is False
        client.send("still well")
        assert client.recv() == "still well"


def send_until_held_up(peer: Peer, message: bytes) -> int:
    """Send until the kernels' buffers are full; return the number of bytes sent."""
    peer.socket.settimeout(1.0)
    sent = 0
    try:
        while sent < 1000 * len(message):
            sent += peer.socket.send(message[sent % len(message) :])
    except TimeoutError:
        return sent
    raise AssertionError("the server reads without end")


def test_what_the_application_does_not_take_is_not_read_from_the_peer(serve: Serve) -> None:
    go = asyncio.Event()
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            heard.put(len(message["bytes"]))

    server = serve(app)
    message = frame(BINARY, bytes(100_000))
    with Peer(server.port).shake_hands() as peer:
        complete = send_until_held_up(peer, message) // len(message)
        server.call(go.set)
        assert [heard.next() for _ in range(complete)] == [100_000] * complete
    eventually(server.idle)
