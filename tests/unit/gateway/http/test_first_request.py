"""A first request is answered alike whether its head arrives at once or in pieces: two classes read these."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvloop

from service.gateway.http.first_request import http_class
from service.gateway.websocket.connection import transport_class
from tests.support.clients.raw_http import client, rest
from tests.support.servers.asgi_endpoint import Everywhere
from tests.support.servers.websocket_server import LiveServer, Message, Receive, Send

KEY = b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Refuse WebSockets with what was read of their head, and answer requests."""
    await receive()
    if scope["type"] == "websocket":
        text = repr((scope["path"], scope["query_string"], scope["headers"])).encode()
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
        await send({"type": "websocket.http.response.body", "body": text})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"a request"})


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    loop: Callable[[], Any] = request.param
    with ExitStack() as stack:
        endpoints = transport_class(endpoints=Everywhere(app))
        yield stack.enter_context(LiveServer(app, endpoints, loop, 128 * 1024, http_class(2)))


def answer(server: LiveServer, *pieces: bytes) -> bytes:
    with client(server) as tcp:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.05)  # otherwise the pieces may be read as one, which the assertion allows
            tcp.sendall(piece)
        return re.sub(rb"(?i)date: [^\r]+", b"", rest(tcp))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\n" + UPGRADE + VERSION + KEY,
        b"GET / HTTP/1.1\r\nHOST: x\r\nCONNECTION: keep-alive, UPGRADE\r\nUPGRADE: WebSocket\r\n"
        + VERSION
        + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + VERSION,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + VERSION + KEY + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + VERSION + b"Sec-WebSocket-Key: AAAA\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\n" + UPGRADE + VERSION + KEY,
        b"PUT / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + VERSION + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + VERSION + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUpgrade: websocket\r\n" + VERSION + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n" + UPGRADE + VERSION + KEY,
        b"GET / HTTP/1.1\r\nHost : x\r\n" + UPGRADE + VERSION + KEY,
        b"GET HTTP/1.1\r\n" + UPGRADE + VERSION + KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\n",
    ],
)
def test_a_head_is_read_alike_at_once_and_in_pieces(server: LiveServer, head: bytes) -> None:
    at_once = answer(server, head + b"\r\n")
    assert at_once.startswith(b"HTTP/1.1 ")
    assert answer(server, head[:20], head[20:] + b"\r\n") == at_once
