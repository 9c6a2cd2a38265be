"""Who is silent, dribbles or floods before a request is complete is closed in time; other clients are not affected."""

import asyncio
import gc
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import uvloop
from websockets.sync.client import connect

from service.gateway.http import protocol
from service.gateway.http.first_request import http_class
from service.gateway.http.protocol import (
    CHUNK,
    MAX_DROPPED,
    MAX_HEAD,
    OVERDUE,
    OVERSIZED,
    TimedHttpProtocol,
)
from service.gateway.websocket.connection import transport_class
from service.runtime import turns
from tests.support.clients.raw_http import client, rest
from tests.support.clients.raw_websocket import TEXT, Peer, frame
from tests.support.clients.turns import Turns
from tests.support.servers.asgi_endpoint import Everywhere
from tests.support.servers.websocket_server import (
    PATIENCE,
    App,
    LiveServer,
    Message,
    Receive,
    Send,
    echo,
    eventually,
)

LOOPS: list[Callable[[], Any]] = [asyncio.SelectorEventLoop, uvloop.new_event_loop]

Serve = Callable[..., tuple[LiveServer, type[TimedHttpProtocol]]]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(
            app: App, seconds: float = 0.5, **limits: Any
        ) -> tuple[LiveServer, type[TimedHttpProtocol]]:
            http = http_class(seconds, **limits)
            server = LiveServer(
                app, transport_class(endpoints=Everywhere(app)), request.param, 128 * 1024, http
            )
            return stack.enter_context(server), http.later

        yield start


async def answer(scope: Message, receive: Receive, send: Send) -> None:
    """Read a request to its end, then say how long its body was; WebSockets are echoed."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


def dribble(tcp: socket.socket, start: bytes, more: bytes) -> bytes:
    """Send a little now and then, for as long as the server lets us; return its response."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.02):
            try:
                tcp.sendall(more)
            except OSError:
                return

    tcp.sendall(start)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        return rest(tcp)
    finally:
        over.set()
        thread.join()


def test_who_never_says_anything_is_closed_without_a_word(serve: Serve) -> None:
    server, http = serve(answer)
    with client(server) as tcp:
        assert rest(tcp) == b""
    assert http.cut[OVERDUE] == 1
    eventually(server.idle)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET / HTTP/1.1\r\n", b"X-Slow: 1\r\n"),
        (b"GET / HTTP/1.1\r\nX-Slow: ", b"a"),
        (b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", b"X-Slow: 1\r\n"),
        (b"GET /", b"a"),
        (b"", b"\r\n"),
    ],
    ids=["headers", "one header", "an upgrade", "a path", "empty lines"],
)
def test_a_dribbled_head_is_answered_with_408_in_time(serve: Serve, start: bytes, more: bytes) -> None:
    server, http = serve(answer)
    with client(server) as tcp:
        assert dribble(tcp, start, more).startswith(b"HTTP/1.1 408 ")
    assert http.cut[OVERDUE] == 1
    eventually(server.idle)


def test_a_dribbled_body_ends_the_connection_and_the_request(serve: Serve) -> None:
    server, http = serve(answer)
    with client(server) as tcp:
        assert dribble(tcp, b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", b"a") == b""
    assert http.cut[OVERDUE] == 1
    eventually(server.idle)


def test_a_second_request_on_a_connection_has_its_own_time(serve: Serve) -> None:
    server, http = serve(answer)
    with client(server) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert tcp.recv(1) == b"H"
        said = dribble(tcp, b"GET / HTTP/1.1\r\n", b"X-Slow: 1\r\n")
        assert said.startswith(b"TTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in said
    assert http.cut[OVERDUE] == 1


@pytest.mark.parametrize("piece", [b"a" * 1000, b"X-More: 1\r\n" * 100], ids=["one header", "many headers"])
def test_an_endless_head_is_refused_with_431(serve: Serve, piece: bytes) -> None:
    server, http = serve(answer, 30)
    with client(server) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"\r\n" * piece.startswith(b"X"))
        sent = 0
        try:
            while sent < 100 * MAX_HEAD:
                tcp.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 100 * MAX_HEAD
    eventually(lambda: http.cut[OVERSIZED] == 1)
    eventually(server.idle)


def test_a_large_head_within_the_limit_and_a_body_beyond_it_are_served(serve: Serve) -> None:
    server, http = serve(answer, 30)
    with client(server) as tcp:
        head = b"POST / HTTP/1.1\r\nConnection: close\r\nCookie: %s\r\nContent-Length: %d\r\n\r\n"
        tcp.sendall(head % (b"a" * (MAX_HEAD - 1000), 10 * MAX_HEAD) + bytes(10 * MAX_HEAD))
        assert rest(tcp).endswith(b"\r\n\r\n%d" % (10 * MAX_HEAD))
    assert not http.cut


def post(path: bytes, size: int) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, size)


def test_a_body_that_is_declared_too_large_is_refused_before_it_comes(serve: Serve) -> None:
    server, _ = serve(answer, 30, max_body=1_000, is_identified=lambda url: url == b"/known")
    with client(server) as tcp:
        tcp.sendall(post(b"/", 1_000) + b"x" * 1_000 + post(b"/known", 1_001) + b"x" * 1_001)
        said = b""
        while not said.endswith(b"1001"):
            said += tcp.recv(65536)
        tcp.sendall(post(b"/", 1_001) + b"x" * 10)
        assert rest(tcp).startswith(b"HTTP/1.1 413 ")
    eventually(server.idle)


async def answer_at_once(_scope: Message, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("size", [MAX_DROPPED // 2, 100 * MAX_DROPPED])
def test_the_rest_of_an_answered_body_is_dropped_up_to_a_limit(serve: Serve, size: int) -> None:
    server, _ = serve(answer_at_once, 30)
    said = b""
    with client(server) as tcp:
        tcp.sendall(post(b"/", size))
        assert tcp.recv(65536).startswith(b"HTTP/1.1 400 ")
        with suppress(OSError):
            tcp.sendall(b"x" * size + post(b"/", 0))
            said = tcp.recv(65536)
    assert said.startswith(b"HTTP/1.1 400 ") is (size < MAX_DROPPED)
    eventually(server.idle)


def test_the_least_recently_used_idle_connection_gives_way(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_IDLE", 2)
    server, http = serve(answer, 30)

    def ask(tcp: socket.socket) -> bytes:
        tcp.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said = tcp.recv(1)
        while said and not said.endswith(b"\r\n\r\n0"):
            said += tcp.recv(65536)
        return said

    with ExitStack() as stack:
        first, second, third = (stack.enter_context(client(server)) for _ in range(3))
        for tcp in (first, second, first, third):
            assert ask(tcp), "it is kept"
        assert rest(second) == b""
        assert ask(first)
        assert ask(third)
        eventually(lambda: len(http.idle) == 2)
    eventually(server.idle)
    assert not http.idle


def at_once(server: LiveServer, tcp: socket.socket, data: bytes) -> None:
    """Let the server read only after the kernel holds as much of `data` as it takes."""
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert go.wait(PATIENCE)

    server.uvicorn.loop.call_soon_threadsafe(hold)
    assert held.wait(PATIENCE)
    sending = threading.Thread(target=tcp.sendall, args=(data,))
    sending.start()
    sending.join(0.5)  # the kernel takes some hundred KiB; what it does not take follows
    go.set()
    sending.join(PATIENCE)


def test_thousands_of_requests_in_one_read_are_parsed_piece_by_piece(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, begin = Turns(), TimedHttpProtocol.on_message_begin
    waiting = 0

    def counted(http: TimedHttpProtocol) -> None:
        nonlocal waiting
        turns.did()
        waiting = max(waiting, len(http.pipeline))
        begin(http)

    monkeypatch.setattr(TimedHttpProtocol, "on_message_begin", counted)
    server, http = serve(answer, PATIENCE)
    request = b"GET / HTTP/1.1\r\n\r\n"
    count = 120_000 // len(request)
    with client(server) as tcp:
        last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
        at_once(server, tcp, request * count + last)
        assert rest(tcp).count(b"HTTP/1.1 200 ") == count + 1
    assert turns.total == count + 1
    assert max(turns.most, waiting) <= 2 * CHUNK / len(request)
    assert not http.cut


def test_tens_of_thousands_of_chunks_in_one_read_are_parsed_piece_by_piece(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, on_body = Turns(), TimedHttpProtocol.on_body

    def counted(http: TimedHttpProtocol, body: bytes) -> None:
        turns.did()
        on_body(http, body)

    monkeypatch.setattr(TimedHttpProtocol, "on_body", counted)
    server, _ = serve(answer, PATIENCE)
    with client(server) as tcp:
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        at_once(server, tcp, head + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n")
        assert rest(tcp).endswith(b"\r\n\r\n20000")
    assert turns.total == 20_000
    assert turns.most <= 2 * CHUNK / 6


@pytest.mark.parametrize("piece", [1, 7, 1000, 5000, 100_000, 1_000_000])
def test_requests_are_answered_in_order_however_they_come(serve: Serve, piece: int) -> None:
    server, _ = serve(answer, PATIENCE)
    sizes = [0, 10, 70_000 if piece > 7 else 70, 1, 5_000 if piece > 7 else 50, 0, 3]
    sent = b"".join(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size) for size in sizes)
    sent += b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    with client(server) as tcp:
        for at in range(0, len(sent), piece):
            tcp.sendall(sent[at : at + piece])
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in rest(tcp).split(b"HTTP/1.1 200 ")[1:]]
    assert bodies == [b"%d" % size for size in [*sizes, 0]]


def test_a_websocket_begins_whatever_was_sent_with_its_upgrade(serve: Serve) -> None:
    """What comes before the answer is against RFC 6455, section 4.1, and is dropped; the node serves others."""
    server, _ = serve(answer, PATIENCE)
    with Peer(server.port, headers=b"X-Large: " + b"a" * 30_000 + b"\r\n").shake_hands() as peer:
        peer.send(TEXT, b"hello")
        assert peer.read() == (TEXT, b"hello")
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with client(server) as tcp:
        at_once(server, tcp, upgrade + frame(TEXT, b"early") * 10_000)
        assert tcp.recv(12) == b"HTTP/1.1 101"
    eventually(server.idle)


def test_a_slow_answer_is_not_the_clients_fault(serve: Serve) -> None:
    async def slow(scope: Message, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1)
        await answer(scope, receive, send)

    server, http = serve(slow, 0.2)
    with client(server) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert rest(tcp).startswith(b"HTTP/1.1 200 ")
    assert http.cut[OVERDUE] == 0


def test_a_websocket_outlives_the_time_and_hears_nothing_of_the_silent(serve: Serve) -> None:
    server, http = serve(answer, 0.5)
    with connect(server.url) as bystander, ExitStack() as stack:
        silent = [stack.enter_context(client(server)) for _ in range(100)]
        for number in range(20):
            bystander.send(str(number))
            assert bystander.recv(timeout=PATIENCE) == str(number)
            time.sleep(0.05)
        assert [rest(tcp) for tcp in silent] == [b""] * 100
        bystander.send("still here")
        assert bystander.recv(timeout=PATIENCE) == "still here"
    assert http.cut[OVERDUE] == 100
    assert len(http.waits) == 0


class Held(turns.Turns):
    """Turns that a test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[str, Callable[[], None]]] = []

    def run(self, key: str, work: Callable[[], None]) -> None:
        self.pieces.append((key, work))

    wait = run

    def give(self) -> None:
        self.pieces.pop(0)[1]()


def one_answer(tcp: socket.socket) -> bytes:
    """Read an answer of `answer` to a request without a body."""
    received = b""
    while not received.endswith(b"\r\n\r\n0"):
        data = tcp.recv(4096)
        assert data
        received += data
    return received


def test_requests_of_an_unknown_client_wait_for_the_turn_of_its_address(serve: Serve) -> None:
    held = Held()
    server, _ = serve(answer, PATIENCE, turns=held, is_identified=lambda url: url == b"/known")
    with client(server) as tcp:
        for path in (b"/", b"/known"):
            tcp.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            eventually(lambda: len(held.pieces) == 1)
            assert held.pieces[0][0] == "127.0.0.1"
            server.call(held.give)
            assert one_answer(tcp).startswith(b"HTTP/1.1 200 ")
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one_answer(tcp).startswith(b"HTTP/1.1 200 ")
        assert held.pieces == []


def test_a_client_that_is_gone_before_its_turn_is_forgotten_in_it(serve: Serve) -> None:
    held = Held()
    server, _ = serve(answer, PATIENCE, turns=held)
    with client(server) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: len(held.pieces) == 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with RST
    server.call(held.give)
    eventually(server.idle)


@pytest.mark.parametrize("ends_in", ["a response", "half a request", "an upgrade"])
def test_a_connection_is_freed_at_its_end_without_a_collection(serve: Serve, ends_in: str) -> None:
    server, http = serve(answer, PATIENCE)
    gc.disable()
    try:
        if ends_in == "an upgrade":
            with connect(f"ws://127.0.0.1:{server.port}/") as websocket:
                websocket.send("x")
                assert websocket.recv() == "x"
                eventually(lambda: not in_memory(http))
        else:
            with client(server) as tcp:
                tcp.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                one_answer(tcp)
                tcp.sendall(b"POST / HTTP/1.1\r\n" if ends_in == "half a request" else b"")
        eventually(server.idle)
        eventually(lambda: not in_memory(http))
    finally:
        gc.enable()


def in_memory(kind: type) -> list[object]:
    """Return the objects of a class that are still in memory."""
    return [each for each in gc.get_objects() if type(each) is kind]
