"""No connection waits for a slow peer, and a slow peer that reads can still catch up."""

import asyncio
import time

from websockets.sync.client import connect

from service.gateway.websocket.frames import text_frame
from tests.support.clients.raw_websocket import Peer
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

BLOCK = text_frame(bytes(64 * 1024))
ENOUGH = 64 * 1024 * 1024  # bytes: more than the buffers of any kernel between two sockets


def test_peer_that_does_not_read_is_closed_with_4008(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            return await echo(scope, receive, send)
        transport = await accept(scope, receive, send)
        written = 0
        while not transport.closing and written < ENOUGH:
            transport.write(BLOCK)
            written += len(BLOCK)
            await asyncio.sleep(0.001)
        heard.put(written)
        transport.write(BLOCK)  # comes to nothing
        heard.put(await the_end(receive))
        return None

    server = serve(app)
    with (
        Peer(server.port, receive_buffer=4096).shake_hands() as slow,
        connect(server.url + "echo") as other,
    ):
        answered = 0
        while heard.qsize() < 2:
            other.send("still there?")
            assert other.recv(timeout=30) == "still there?"
            answered += 1
        assert answered > 0
        written = heard.next()
        assert written < ENOUGH
        assert heard.next() == (4008, "too slow")
        whole = 0
        while (message := slow.read())[0] != 0x8:  # it reads at last: whole frames, then the reason
            whole += len(text_frame(message[1]))
        assert whole == written
        assert message[1][2:] == b"too slow"
        slow.send(0x8, message[1])
        assert slow.read_to_the_end() == b""


def test_a_peer_that_never_reads_again_is_gone_after_the_time_limit(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        while not transport.closing:
            transport.write(BLOCK)
            await asyncio.sleep(0)

    server = serve(app, close_timeout=0.1)
    with Peer(server.port).shake_hands():
        eventually(server.idle)


def test_a_paced_catch_up_reaches_a_slow_peer_that_reads(serve: Serve) -> None:
    blocks = 160  # of 64 KiB: 10 MiB

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.catchup += 1
        for number in range(blocks):
            transport.write(text_frame(number.to_bytes(2) * (32 * 1024)))
            await transport.drained()
        transport.catchup -= 1
        await the_end(receive)

    server = serve(app, max_outbox=16 * 1024)  # less than one block: only the allowance carries it
    with Peer(server.port, receive_buffer=65536).shake_hands() as peer:
        for number in range(blocks):
            assert peer.read() == (0x1, number.to_bytes(2) * (32 * 1024))
            time.sleep(0.002)


def test_the_allowance_ends_with_the_catch_up(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.catchup += 1
        try:
            while not transport.closing:
                transport.write(BLOCK)
                await asyncio.wait_for(transport.drained(), 2.0)
        except TimeoutError:
            heard.put("held up, not closed" if not transport.closing else "closed")
        transport.catchup -= 1
        for _ in range(512 * 1024 // 6):
            transport.write(text_frame(b"live"))
        heard.put("closed" if transport.closing else "still open")
        heard.put(await the_end(receive))

    server = serve(app, max_outbox=64 * 1024, close_timeout=0.1)
    with Peer(server.port).shake_hands():
        assert heard.next() == "held up, not closed"
        assert heard.next() == "closed"
        assert heard.next() == (4008, "too slow")


def test_drained_returns_when_the_connection_is_lost(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.catchup += 1
        while not transport.closing:
            transport.write(BLOCK)
            heard.put("waiting")
            await transport.drained()
        heard.put("returned")
        await transport.drained()  # and then at once
        transport.write(BLOCK)  # which is no error
        heard.put(await the_end(receive))

    server = serve(app)
    peer = Peer(server.port).shake_hands()
    time.sleep(0.2)  # most likely it waits by now; the test holds either way
    peer.reset()
    while (said := heard.next()) == "waiting":
        pass
    assert said == "returned"
    assert heard.next() == (1006, "")
    eventually(server.idle)


def test_drained_returns_when_we_close(serve: Serve) -> None:
    heard = Heard()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        transport = await accept(scope, receive, send)
        transport.catchup += 1
        asyncio.get_running_loop().call_later(0.2, transport.close, 4001, "token expired")
        while not transport.closing:
            transport.write(BLOCK)
            await transport.drained()
        heard.put(await the_end(receive))

    server = serve(app, close_timeout=100.0)
    with Peer(server.port).shake_hands():
        assert heard.next() == (4001, "token expired")


def test_an_asgi_send_waits_for_the_peer_and_is_never_too_slow(serve: Serve) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await accept(scope, receive, send)
        for _ in range(3):
            await send({"type": "websocket.send", "bytes": bytes(4 * 1024 * 1024)})
        await the_end(receive)

    with Peer(serve(app).port, receive_buffer=65536).shake_hands() as peer:
        for _ in range(3):
            assert peer.read() == (0x2, bytes(4 * 1024 * 1024))
