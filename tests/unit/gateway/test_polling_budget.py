"""The work and the memory of a polling POST stay within a budget per byte, in any chunking of its body."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.datastructures import Headers

from service.gateway.engineio.connection import Connection
from service.gateway.engineio.interface import Settings
from service.gateway.engineio.polling import Polls
from service.gateway.engineio.server import Engine
from service.protocol.close_codes import Close
from service.protocol.socketio import packets
from tests.support.protocol.budget import CONSTANT, peak, pumped
from tests.support.protocol.work import work

PER_BYTE = 250
PER_CHUNK = 300
HELD_PER_BYTE = 24
PER_PACKET = 400

PIECES = [
    b"\x1e", b"4", b"42[]", b'42["room:list",{}]', b'451-["a",{"_placeholder":true,"num":0}]', b"bAAAA", b"b", b"AAAA",
    b"3", b"2probe", b"40", "é".encode(), "🦊".encode(), b"x", b"\xff", b'42["a",[' + b"0," * 50 + b"0]]",
]  # fmt: skip


class Reader:
    """Decodes the packets of Socket.IO, as the layer above does, and drops them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._decoder = packets.Decoder(1 << 16)

    def take_now(self, _message: str | bytes) -> bool:
        """Leave every message to `take`."""
        return False

    async def take(self, message: str | bytes) -> None:
        try:
            if (received := self._decoder.feed(message)) is not None:
                received.packet()
        except packets.NotAPacket as error:
            self._connection.close(Close.MALFORMED, str(error))

    def ended(self) -> None:
        """Nothing is released."""


async def post(body: bytes, size: int) -> int:
    """Send a body in chunks to a new session; return the status of the answer."""
    limits = Settings(
        ping_interval=25, ping_timeout=20, max_payload=1 << 20, max_packet=1 << 17, max_outbox=1 << 20
    )
    engine = Engine(limits, Reader)
    app = Starlette(routes=[Polls.route(engine, "/")])
    chunks = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    received = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    status = 0
    sid = engine.open(Headers({}), "::1").sid

    async def receive() -> dict[str, Any]:
        return received.pop(0) if received else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    query = f"EIO=4&transport=polling&sid={sid}".encode()
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": query, "headers": [], "client": ("::1", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    engine.close(Close.SHUTTING_DOWN, "over")
    return status


def run(body: bytes, size: int) -> None:
    assert asyncio.run(post(body, size)) in (200, 400)


@given(pumped(PIECES, 2_000), st.sampled_from([1, 3, 64, 1 << 16]))
@settings(max_examples=40, deadline=None)
def test_the_work_of_a_post_is_within_its_budget(body: bytes, size: int) -> None:
    run(b"", 1)
    chunks = len(body) // size + 1
    assert work(lambda: run(body, size)) <= 20_000 + PER_BYTE * len(body) + PER_CHUNK * chunks


@given(pumped(PIECES, 64 * 1024), st.sampled_from([4096, 1 << 16]))
@settings(max_examples=30, deadline=None)
def test_the_memory_of_a_post_is_within_its_budget(body: bytes, size: int) -> None:
    run(b"", 1)
    pieces = min(body.count(b"\x1e") + 1, 4096)
    assert peak(lambda: run(body, size)) <= 8 * CONSTANT + HELD_PER_BYTE * len(body) + PER_PACKET * pieces
