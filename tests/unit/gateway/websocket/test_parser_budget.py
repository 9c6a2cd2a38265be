"""The work and the memory of the WebSocket parser stay within a budget per byte, in any chunking."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.gateway.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from service.gateway.websocket.parser import Parser, ProtocolError
from tests.support.clients.raw_websocket import masked
from tests.support.protocol.budget import CONSTANT, peak, pumped
from tests.support.protocol.work import work

PER_BYTE = 60
PER_READ = 300
HELD_PER_BYTE = 16
"""Bytes of memory; unmasking takes six, and a text of one emoji four a character."""

MASK = b"\x01\x02\x03\x04"

FRAMES = [
    masked(TEXT, b"", b"\0\0\0\0"),
    masked(TEXT, b"hello", MASK),
    masked(TEXT, "é🦊".encode(), MASK),
    masked(TEXT, b"a" * 200, MASK),
    masked(TEXT, "🦊".encode()[:2], MASK, fin=False),
    masked(CONTINUATION, "🦊".encode()[2:], MASK, fin=False),
    masked(TEXT, b"", MASK, fin=False),
    masked(BINARY, b"\xff" * 3, MASK, fin=False),
    masked(BINARY, bytes(70_000), MASK),
    masked(CONTINUATION, b"", MASK, fin=False),
    masked(CONTINUATION, b"x", MASK, fin=False),
    masked(CONTINUATION, b"end", MASK),
    masked(PING, b"", MASK),
    masked(PONG, b"p" * 125, MASK),
    masked(CLOSE, b"\x03\xe8bye", MASK),
    masked(TEXT, b"a" * 60, MASK)[:-1],
    b"\x81", b"\xff", b"\x82\xff" + bytes(8), b"\x81\xfe\x00\x01",
]  # fmt: skip


class Copied(bytearray):
    """Counts the bytes that are copied out of it, which C code does, so that `work` does not see them."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice):
            self.copied += len(found)
        return found


def read(parser: Parser, chunks: list[bytes]) -> None:
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while parser.next() is not None:
                pass
    except ProtocolError:
        parser.clear()


def chunks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(pumped(FRAMES, 4_000), st.sampled_from([1, 2, 5, 7, 64, 1 << 16]))
@settings(max_examples=150, deadline=None)
def test_the_work_of_frames_is_within_its_budget(data: bytes, size: int) -> None:
    chunks = chunks_of(data[:6_000], size)
    parser = Parser(1 << 20, 1024)
    parser._bytes = held = Copied()
    cost = work(lambda: read(parser, chunks))
    assert cost <= 4_000 + PER_BYTE * sum(map(len, chunks)) + PER_READ * len(chunks)
    assert parser._bytes is held
    assert held.copied <= 2 * sum(map(len, chunks)) + 16 * len(chunks)


@given(pumped(FRAMES, 100_000), st.sampled_from([1, 7, 4096, 1 << 16]))
@settings(max_examples=40, deadline=None)
def test_the_memory_of_frames_is_within_its_budget(data: bytes, size: int) -> None:
    chunks = chunks_of(data[:200_000], size)
    parser = Parser(1 << 20, 1024)
    read(Parser(1 << 20, 1024), chunks[:10])  # what is made once is made
    held = peak(lambda: read(parser, chunks))
    assert held <= CONSTANT + HELD_PER_BYTE * sum(map(len, chunks)) + 128 * 1024  # 128 for each fragment
