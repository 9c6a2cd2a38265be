"""The opening handshake and its refusals."""

import socket

from service.gateway.websocket.frames import text_frame
from tests.support.clients.raw_websocket import Peer
from tests.support.servers.websocket_server import Heard, Message, Receive, Send, Serve, echo, eventually


def test_compression_is_not_agreed_to(serve: Serve) -> None:
    with Peer(serve(echo).port) as peer:
        assert "permessage-deflate" not in peer.read_response().lower()


def test_a_refused_handshake_is_a_403(serve: Serve) -> None:
    async def app(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    server = serve(app)
    with Peer(server.port) as peer:
        assert peer.read_response().startswith("HTTP/1.1 403 ")
        assert peer.read_to_the_end() == b""
    eventually(server.idle)


def test_a_refused_handshake_can_have_a_status_and_a_body(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"retry-after", b"5")]
        await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"too many ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"connections"})
        transport = scope["extensions"]["onrecord.transport"]
        heard.put(transport.closing)
        transport.write(text_frame(b"comes to nothing"))

    server = serve(app)
    with Peer(server.port) as peer:
        head = peer.read_response()
        assert head.startswith("HTTP/1.1 429 ")
        assert "retry-after: 5" in head.lower()
        assert peer.read_to_the_end() == b"too many connections"
    assert heard.next() is True
    eventually(server.idle)


def test_an_exception_before_the_accept_is_a_500_and_is_logged(serve: Serve) -> None:
    async def app(_scope: Message, _receive: Receive, _send: Send) -> None:
        raise LookupError("a bug")

    server = serve(app)
    with Peer(server.port) as peer:
        assert peer.read_response().startswith("HTTP/1.1 500 ")
    eventually(server.idle)
    assert server.errors[0] == "knock_failed: LookupError('a bug')"
    server.errors.clear()


def test_headers_too_large_for_a_handshake_are_a_431(serve: Serve) -> None:
    server = serve(echo)
    with Peer(server.port, headers=b"Cookie: " + b"a" * 70_000 + b"\r\n") as peer:
        assert peer.read_response().startswith("HTTP/1.1 431 ")
    eventually(server.idle)


def test_a_handshake_of_another_version_is_refused(serve: Serve) -> None:
    server = serve(echo)
    with Peer(server.port, headers=b"Sec-WebSocket-Version: 8\r\n") as peer:
        assert peer.read_response().startswith("HTTP/1.1 4")
    eventually(server.idle)


def test_a_peer_that_leaves_during_the_handshake_leaves_nothing_behind(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = scope["extensions"]["onrecord.transport"]
        await receive()
        heard.put((await receive())["code"])
        transport.write(text_frame(b"comes to nothing"))
        await send({"type": "websocket.accept"})  # raises, like any send to a peer that is gone

    server = serve(app)
    Peer(server.port).reset()
    assert heard.next() == 1006
    eventually(server.idle)


def test_small_frames_are_not_held_back(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        transport = scope["extensions"]["onrecord.transport"].transport
        the_socket = transport.get_extra_info("socket")
        heard.put(the_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with Peer(serve(app).port).shake_hands():
        assert heard.next() == 1
