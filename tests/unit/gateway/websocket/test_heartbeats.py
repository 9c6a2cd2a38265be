"""A peer that does not answer pings is disconnected, unless its pong may wait in a socket that is not read."""

import asyncio

from tests.support.clients.raw_websocket import PING, PONG, TEXT, Peer, frame
from tests.support.servers.websocket_server import (
    PATIENCE,
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


def test_a_ping_is_answered_with_its_payload(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        for payload in (b"", b"are you there?", bytes(range(125))):
            peer.send(PING, payload)
            assert peer.read() == (PONG, payload)


def test_a_peer_that_answers_is_pinged_again_and_again(serve: Serve) -> None:
    with Peer(serve(echo, ping_interval=0.05, ping_timeout=PATIENCE).port).shake_hands() as peer:
        for _ in range(5):
            opcode, payload = peer.read()
            assert opcode == PING
            peer.send(PONG, payload)


def test_a_peer_that_never_answers_is_closed_with_4010_and_really_gone(serve: Serve) -> None:
    ends = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        ends.put(await the_end(receive))

    server = serve(app, ping_interval=0.1, ping_timeout=0.2, close_timeout=0.2)
    with Peer(server.port).shake_hands() as peer:
        assert ends.next() == (4010, "no pong")
        eventually(server.idle)  # though the peer has not so much as read
        assert peer.read_close() == (4010, "no pong")


def test_messages_are_no_pongs(serve: Serve) -> None:
    server = serve(echo, ping_interval=0.05, ping_timeout=0.1, close_timeout=0.2)
    with Peer(server.port).shake_hands() as peer:
        while True:
            peer.send(TEXT, b"I live, but I do not pong")
            opcode, payload = peer.read()
            if opcode == 0x8:
                break
        assert int.from_bytes(payload[:2]) == 4010


def test_an_unasked_pong_is_ignored(serve: Serve) -> None:
    with Peer(serve(echo).port).shake_hands() as peer:
        peer.send(PONG, b"nobody asked")
        peer.send(TEXT, b"hello")
        assert peer.read() == (TEXT, b"hello")


def test_a_pong_we_have_not_read_yet_is_not_held_against_the_peer(serve: Serve) -> None:
    go = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})

    server = serve(app, ping_interval=0.1, ping_timeout=1.0)
    with Peer(server.port).shake_hands() as peer:
        many = [frame(TEXT, b"%d" % number) for number in range(3000)]
        peer.socket.sendall(b"".join(many))
        assert peer.read() == (PING, b"")
        peer.send(PONG)
        peer.socket.settimeout(3.0)
        try:
            opcode, _ = peer.read()  # nothing comes: no close frame, above all
        except TimeoutError:
            opcode = None
        assert opcode is None
        peer.socket.settimeout(PATIENCE)
        server.call(go.set)
        echoed = 0
        while echoed < len(many):
            opcode, payload = peer.read()
            if opcode == PING:
                peer.send(PONG)
            else:
                assert (opcode, payload) == (TEXT, b"%d" % echoed)
                echoed += 1
