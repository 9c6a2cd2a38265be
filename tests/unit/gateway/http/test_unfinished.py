"""What one connection holds of the budget while its input is unfinished, and how it ends where there is no room."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvloop

from service.gateway.http.first_request import http_class
from service.gateway.transport.client_address import ClientAddresses
from service.gateway.transport.receive_budget import SHARE, ReceiveBudget
from service.gateway.websocket.connection import transport_class
from tests.support.clients.raw_http import client, rest
from tests.support.clients.raw_websocket import CONT, TEXT, Peer, frame
from tests.support.servers.asgi_endpoint import Everywhere
from tests.support.servers.websocket_server import (
    LiveServer,
    Message,
    Receive,
    Send,
    accept,
    eventually,
)

LOOPS: list[Callable[[], Any]] = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
SHARE_OF_ONE = 40_000
KNOWN = b"/known"

Serve = Callable[[], tuple[LiveServer, ReceiveBudget]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Read a request to its end; of a WebSocket, handle the first message for ever."""
    if scope["type"] == "websocket":
        transport: Any = await accept(scope, receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "me":
                transport.account.identified = True
                await send({"type": "websocket.send", "text": "known"})
            elif message.get("text", "").startswith("wait"):
                while not transport.closing:
                    await asyncio.sleep(0.01)
        return
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    if message["type"] == "http.request":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start() -> tuple[LiveServer, ReceiveBudget]:
            budget = ReceiveBudget(SHARE * SHARE_OF_ONE, ClientAddresses(()), time.monotonic)
            http = http_class(30, budget=budget, is_identified=lambda url: url == KNOWN)
            return stack.enter_context(
                LiveServer(app, transport_class(endpoints=Everywhere(app)), request.param, 128 * 1024, http)
            ), budget

        yield start


def post(path: bytes, size: int) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, size)


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nX-Long: ", post(b"/", 1_000_000)], ids=["a head", "a body"]
)
def test_an_unfinished_request_holds_what_it_has_sent(serve: Serve, first: bytes) -> None:
    server, budget = serve()
    with client(server) as tcp:
        tcp.sendall(first + b"x" * 10_000)
        eventually(lambda: 10_000 <= budget.held < 11_000)
        with client(server) as other:
            other.sendall(first + b"x" * 30_000)
            assert rest(other).startswith(b"HTTP/1.1 503 ")
        eventually(lambda: budget.held < 11_000)
        assert budget.refused == 1
    eventually(lambda: budget.held == 0)
    eventually(server.idle)


def test_requests_that_are_answered_hold_nothing(serve: Serve) -> None:
    server, budget = serve()
    with client(server) as tcp:
        for size in (0, 5_000, 15_000):
            for _ in range(5):
                tcp.sendall(post(b"/", size) + b"x" * size)
                said = b""
                while not said.endswith(b"ok"):
                    said += tcp.recv(65536)
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        said = b""
        while said.count(b"HTTP/1.1 200 ") < 50:
            said += tcp.recv(65536)
        eventually(lambda: budget.held == 0)
        assert budget.refused == 0


def test_the_requests_of_an_identified_session_hold_nothing(serve: Serve) -> None:
    server, budget = serve()
    with client(server) as tcp:
        tcp.sendall(post(KNOWN, 900_000) + b"x" * 899_999)
        with client(server) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: budget.held == 0)
        tcp.sendall(b"x")
        assert tcp.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert budget.refused == 0


BIG = frame(TEXT, b"x" * 100_000)


@pytest.mark.parametrize(
    "sent",
    [
        BIG[:60_000],
        frame(TEXT, b"x" * 20_000, fin=False) + frame(CONT, b"x" * 21_000, fin=False),
        frame(TEXT, "😀".encode() + b"x" * 12_000, fin=False),
        frame(TEXT, b"wait") + frame(TEXT, b"x" * 15_000) * 3,
        frame(TEXT, b"wait" + b"x" * 50_000),
    ],
    ids=["a frame", "fragments", "wide characters", "messages that wait", "a message that is handled"],
)
def test_an_unfinished_message_is_closed_with_4009_where_there_is_no_room(serve: Serve, sent: bytes) -> None:
    server, budget = serve()
    peer = Peer(server.port).shake_hands()
    peer.socket.sendall(sent)
    code, reason = peer.read_close()
    assert (code, reason) == (4009, "too much unfinished input")
    peer.socket.close()
    eventually(lambda: budget.held == 0)
    assert budget.refused == 1
    eventually(server.idle)


def test_an_identified_client_may_send_what_it_likes(serve: Serve) -> None:
    server, budget = serve()
    peer = Peer(server.port).shake_hands()
    peer.socket.sendall(frame(TEXT, b"me"))
    assert peer.read()[1] == b"known"
    eventually(lambda: budget.held == 0)
    peer.socket.sendall(BIG[:-1])
    with client(server) as other:
        other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
    eventually(lambda: budget.held == 0)
    assert budget.refused == 0
    peer.socket.close()
    eventually(server.idle)
