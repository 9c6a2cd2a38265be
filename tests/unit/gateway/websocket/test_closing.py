"""Each connection ends with a close code that both the peer and the application receive."""

import asyncio
import socket

import pytest
from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from service.gateway.transport.transport import Ending
from service.gateway.websocket.frames import text_frame
from tests.support.clients.raw_websocket import CLOSE, CONT, TEXT, Peer, close_payload, frame
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


class Listener:
    """An application that reports how its connection ended."""

    def __init__(self) -> None:
        self.ends = Heard()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        self.ends.put(await the_end(receive))


class Witness:
    """An application that records how its transport ended, at the moment of `on_ending`."""

    def __init__(self, *, close: int | None = None) -> None:
        self.close = close
        self.endings = Heard()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.on_ending = lambda: self.endings.put((transport.ending, transport.closing))
        assert transport.ending is None
        if self.close is not None:
            transport.close(self.close, "")
            transport.close(4999, "")
        await the_end(receive)


def test_whoever_says_goodbye_first_is_known_at_that_moment(serve: Serve) -> None:
    by_server = Witness(close=4008)
    with Peer(serve(by_server).port).shake_hands() as peer:
        assert peer.read_close() == (4008, "")
        peer.send(CLOSE, close_payload(4008))
    assert by_server.endings.next() == (Ending(4008, by_client=False), True)
    by_client = Witness()
    with Peer(serve(by_client).port).shake_hands() as peer:
        peer.send(CLOSE, close_payload(4011, "as if it were ours"))
        assert peer.read_close() == (4011, "as if it were ours")
    assert by_client.endings.next() == (Ending(4011, by_client=True), True)


def test_protocol_error_and_lost_connection_are_not_client_closes(serve: Serve) -> None:
    broken = Witness()
    with Peer(serve(broken).port).shake_hands() as peer:
        peer.send(TEXT, b"\xff")
        assert peer.read_close()[0] == 1007
    assert broken.endings.next()[0] == Ending(1007, by_client=False)
    lost = Witness()
    with Peer(serve(lost).port).shake_hands():
        pass
    assert lost.endings.next()[0] == Ending(1006, by_client=False)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_the_code_a_peer_closes_with_is_returned_and_told(serve: Serve, code: int) -> None:
    app = Listener()
    with Peer(serve(app).port).shake_hands() as peer:
        peer.send(CLOSE, close_payload(code, "enough"))
        assert peer.read_close() == (code, "enough")
        assert peer.read_to_the_end() == b""
        assert app.ends.next() == (code, "enough")


def test_a_close_without_a_code_is_returned_so_and_told_as_1005(serve: Serve) -> None:
    app = Listener()
    with Peer(serve(app).port).shake_hands() as peer:
        peer.send(CLOSE)
        assert peer.read() == (CLOSE, b"")
        assert app.ends.next() == (1005, "")


def test_a_close_between_fragments_is_a_clean_close(serve: Serve) -> None:
    app = Listener()
    with Peer(serve(app).port).shake_hands() as peer:
        peer.send(TEXT, b"fragment1", fin=False)
        peer.send(CLOSE, close_payload(1000))
        peer.send(CONT, b"fragment2")
        assert peer.read_close() == (1000, "")
        assert peer.read_to_the_end() == b""
        assert app.ends.next() == (1000, "")


def test_what_a_peer_sends_after_its_close_does_not_cost_it_the_answer(serve: Serve) -> None:
    app = Listener()
    with Peer(serve(app).port).shake_hands() as peer:
        peer.socket.sendall(frame(CLOSE, close_payload(1000)) + frame(TEXT, b"one more") * 50_000)
        assert peer.read_close() == (1000, "")
        assert app.ends.next() == (1000, "")


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "token expired"), (4500, "é" * 61)])
def test_our_code_reaches_the_peer_and_the_application(serve: Serve, code: int, reason: str) -> None:
    ends = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.close(code, reason)
        transport.close(4999, "a second time")
        transport.write(text_frame(b"too late"))
        ends.put(transport.closing)
        ends.put(await the_end(receive))

    with connect(serve(app).url) as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
        assert ends.next() is True
        assert ends.next() == (code, reason)


def test_an_asgi_close_is_the_same_close(serve: Serve) -> None:
    ends = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        await send({"type": "websocket.close", "code": 4502, "reason": "protocol version"})
        await send({"type": "websocket.close", "code": 4999})
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.send", "text": "too late"})
        ends.put(await the_end(receive))

    with Peer(serve(app).port).shake_hands() as peer:
        assert peer.read_close() == (4502, "protocol version")
        assert ends.next() == (4502, "protocol version")


def test_after_the_peers_answer_the_connection_ends_before_the_time_limit(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        (await accept(scope, receive, send)).close(4000)

    server = serve(app, close_timeout=100.0)
    with Peer(server.port).shake_hands() as peer:
        assert peer.read_close() == (4000, "")
        peer.send(CLOSE, close_payload(4000))
        assert peer.read_to_the_end() == b""
    eventually(server.idle)


def test_the_peers_answer_is_found_behind_messages_nobody_took(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        await receive()
        transport.close(4000)

    server = serve(app, close_timeout=100.0)
    with Peer(server.port).shake_hands() as peer:
        peer.socket.sendall(frame(TEXT, b"hello") * 3000)
        assert peer.read_close() == (4000, "")
        peer.send(CLOSE, close_payload(4000))
        assert peer.read_to_the_end() == b""
    eventually(server.idle)


def test_a_peer_that_does_not_answer_a_close_is_gone_after_the_time_limit(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        (await accept(scope, receive, send)).close(4000)

    server = serve(app, close_timeout=0.1)
    with Peer(server.port).shake_hands() as peer:
        assert peer.read_close() == (4000, "")
        assert peer.read_to_the_end() == b""
        eventually(server.idle)


def test_closes_that_cross_are_one_close(serve: Serve) -> None:
    ends = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        await receive()
        transport.close(4001)
        ends.put(await the_end(receive))

    with Peer(serve(app).port).shake_hands() as peer:
        peer.socket.sendall(frame(TEXT, b"go") + frame(CLOSE, close_payload(1000)))
        assert peer.read_close()[0] in {1000, 4001}  # ours, or the answer to theirs
        assert peer.read_to_the_end() == b""
        assert ends.next()[0] in {1000, 4001}


def test_an_exception_in_the_application_closes_with_1011_and_is_logged(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        raise LookupError("a bug")

    server = serve(app)
    with Peer(server.port).shake_hands() as peer:
        assert peer.read_close() == (1011, "internal error")
    eventually(server.idle)
    assert server.errors == ["conversation_failed: LookupError('a bug')"]
    server.errors.clear()


def test_an_application_that_returns_closes_with_1000(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)

    with Peer(serve(app).port).shake_hands() as peer:
        assert peer.read_close() == (1000, "")


def test_a_shutdown_closes_every_connection_with_4000(serve: Serve) -> None:
    app = Listener()
    server = serve(app)
    peers = [Peer(server.port).shake_hands() for _ in range(20)]
    server.begin_to_stop()
    for peer in peers:
        with peer:
            assert peer.read_close() == (4000, "shutting down")
    server.stop()
    assert [app.ends.next() for _ in peers] == [(4000, "shutting down")] * 20


def test_a_shutdown_does_not_wait_for_a_peer_that_does_not_read(serve: Serve) -> None:
    ready = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.catchup += 1
        try:
            while True:
                transport.write(text_frame(bytes(65536)))
                await asyncio.wait_for(transport.drained(), 0.5)
        except TimeoutError:
            ready.put("its buffers are full")
        await the_end(receive)

    server = serve(app, close_timeout=0.1)
    with Peer(server.port).shake_hands():
        assert ready.next()
        server.stop()


def test_a_reset_ends_the_applications_receive_and_leaves_no_task(serve: Serve) -> None:
    app = Listener()
    server = serve(app)
    for _ in range(20):
        Peer(server.port).shake_hands().reset()
    assert [app.ends.next() for _ in range(20)] == [(1006, "")] * 20
    eventually(server.idle)


def test_a_peer_that_hangs_up_without_a_close_is_told_as_1006(serve: Serve) -> None:
    app = Listener()
    server = serve(app)
    with Peer(server.port).shake_hands():
        pass
    assert app.ends.next() == (1006, "")
    eventually(server.idle)


def test_a_peer_that_hangs_up_while_much_is_unsent_is_told_as_1006(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.catchup += 1
        try:
            while True:
                transport.write(text_frame(bytes(65536)))
                await asyncio.wait_for(transport.drained(), 0.5)
        except TimeoutError:
            heard.put("held up")
        heard.put(await the_end(receive))

    server = serve(app)
    with Peer(server.port).shake_hands() as peer:
        assert heard.next() == "held up"
        peer.socket.shutdown(socket.SHUT_WR)  # and never reads
        assert heard.next() == (1006, "")
        eventually(server.idle)


def test_the_end_is_told_as_often_as_the_application_asks(serve: Serve) -> None:
    ends = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        for _ in range(4):
            ends.put(await the_end(receive))

    server = serve(app)
    with Peer(server.port).shake_hands() as peer:
        peer.send(CLOSE, close_payload(1001, "bye"))
        assert [ends.next() for _ in range(4)] == [(1001, "bye")] * 4


def test_messages_sent_before_a_hang_up_are_still_received(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            heard.put(message["text"])
        heard.put(message["code"])

    with Peer(serve(app).port).shake_hands() as peer:
        peer.socket.sendall(b"".join(frame(TEXT, b"%d" % number) for number in range(2000)))
    assert [heard.next() for _ in range(2001)] == [*(str(number) for number in range(2000)), 1006]


def test_a_send_to_a_peer_that_is_gone_is_an_oserror(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        await the_end(receive)
        try:
            await send({"type": "websocket.send", "text": "hello?"})
        except OSError as error:  # as ASGI asks for
            heard.put(type(error))
            raise  # the usual thing to do; not worth a log line

    server = serve(app)
    Peer(server.port).shake_hands().reset()
    assert heard.next() is ClientDisconnected
    eventually(server.idle)


def test_two_hundred_connections_come_and_go_without_a_trace(serve: Serve) -> None:
    server = serve(echo)
    for number in range(200):
        with Peer(server.port).shake_hands() as peer:
            peer.send(TEXT, b"%d" % number)
            assert peer.read() == (TEXT, b"%d" % number)
    eventually(server.idle)
