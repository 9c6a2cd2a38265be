"""Compares the parser of client frames with that of the `websockets` library, which shares no code with it."""

import logging
import struct
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from service.gateway.websocket.frames import BINARY, CLOSE, CLOSE_CODES, CONTINUATION, PING, PONG, TEXT
from service.gateway.websocket.parser import Parser, ProtocolError, Received, close_of
from tests.support.clients.raw_websocket import frame, masked
from tests.support.quick import examples

MAX_SIZE, MAX_FRAGMENTS = 4096, 16

Heard = list[Received | int]
"""The received messages and frames, and the close code of a protocol violation."""


def ours(pieces: list[bytes], max_size: int = MAX_SIZE, max_fragments: int = MAX_FRAGMENTS) -> Heard:
    parser = Parser(max_size, max_fragments)
    heard: Heard = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (received := parser.next()) is not None:
                if received.opcode == CLOSE:
                    close_of(bytes(received.data))  # type: ignore[arg-type] # of a close
                    return [*heard, received]
                heard.append(received)
    except ProtocolError as error:
        heard.append(error.code)
    return heard


def theirs(pieces: list[bytes]) -> Heard:
    """Return the same from the library, with its fragments joined as uvicorn joins them."""
    protocol = ServerProtocol(state=OPEN, max_size=MAX_SIZE, logger=logging.getLogger("library"))
    for piece in pieces:
        protocol.receive_data(piece)
    heard: Heard = []
    parts: list[bytes] = []
    kind = TEXT
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            heard.append(Received(int(event.opcode), bytes(event.data)))
            continue
        if event.opcode is not Opcode.CONT:
            kind = int(event.opcode)
        parts.append(bytes(event.data))
        if event.fin:
            data = b"".join(parts)
            parts.clear()
            try:
                heard.append(Received(kind, data.decode() if kind == TEXT else data))
            except UnicodeDecodeError:
                return [*heard, 1007]
    if protocol.parser_exc is not None and protocol.close_sent is not None:
        heard.append(int(protocol.close_sent.code))
    return heard


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@st.composite
def streams(draw: Any) -> bytes:
    """Generate whole and fragmented messages with control frames between them, sometimes with an invalid frame."""
    mask = st.binary(min_size=4, max_size=4)
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        what = draw(st.sampled_from(["whole", "pieces", "control", "odd"]))
        if what == "whole":
            payload = draw(st.text(max_size=200)).encode()
            parts.append(masked(draw(st.sampled_from([TEXT, BINARY])), payload, draw(mask)))
        elif what == "pieces":
            payload = draw(st.text(max_size=60)).encode()
            pieces = cut(payload, draw(st.lists(st.integers(0, 200), max_size=4))) or [b""]
            first = draw(st.sampled_from([TEXT, BINARY]))
            for index, piece in enumerate(pieces):
                opcode = CONTINUATION if index else first
                parts.append(masked(opcode, piece, draw(mask), fin=index == len(pieces) - 1))
                if draw(st.booleans()):
                    parts.append(masked(PING, draw(st.binary(max_size=20)), draw(mask)))
        elif what == "control":
            parts.append(
                masked(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)), draw(mask))
            )
        else:
            parts.append(
                masked(
                    draw(st.integers(0, 15)),
                    draw(st.binary(max_size=140)),
                    draw(mask),
                    fin=draw(st.booleans()),
                    reserved=draw(st.sampled_from([0, 0, 0, 1, 4])),
                )
            )
    return b"".join(parts)


@settings(max_examples=examples(400))
@given(streams(), st.lists(st.integers(0, 10_000), max_size=8))
def test_it_hears_what_the_library_hears_wherever_the_stream_is_cut(stream: bytes, places: list[int]) -> None:
    heard, expected = ours(cut(stream, places)), _comparable(theirs([stream]), stream)
    assert heard == expected


def _comparable(heard: Heard, stream: bytes) -> Heard:
    """Return what our parser should give if the library gives this.

    The library checks no text before the last fragment, and rejects a close between fragments (Autobahn 7.1.5). In
    these cases the result of our parser is accepted here, and the tables below check it.
    """
    mine = ours([stream])
    apart = bool(mine) and (mine[-1] == 1007 or (isinstance(mine[-1], Received) and mine[-1].opcode == CLOSE))
    return mine if apart else heard


@given(streams())
def test_it_makes_no_difference_where_a_stream_is_cut(stream: bytes) -> None:
    assert ours([stream]) == ours([stream[index : index + 1] for index in range(len(stream))])


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_payloads_of_every_length_are_read(length: int) -> None:
    payload = b"*" * length
    assert ours([masked(BINARY, payload, b"\1\2\3\4")], max_size=200_000) == [Received(BINARY, payload)]


@pytest.mark.parametrize(
    ("code", "stream"),
    [
        (1002, frame(TEXT, b"x", reserved=1)),
        (1002, frame(PING, b"", reserved=4)),
        *((1002, frame(opcode, b"x")) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (1002, frame(TEXT, b"x", mask=False)),
        (1002, frame(PING, bytes(126))),
        (1002, frame(PING, b"", fin=False)),
        (1002, frame(CONTINUATION, b"of nothing")),
        (1002, frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
        (1002, frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False)),
        (1002, frame(CLOSE, b"1")),
        (1007, frame(CLOSE, struct.pack("!H", 1000) + b"\xff")),
        (1007, frame(TEXT, b"\xce\xba\xed\xa0\x80")),
        (1007, frame(TEXT, b"\xf4\x90\x80\x80")),
        (1007, frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION, b"")),
        (1009, bytes([0x81, 0xFF]) + struct.pack("!Q", 1 << 40)),
        (1009, bytes([0x81, 0xFF]) + struct.pack("!Q", (1 << 64) - 1)),
        (1009, bytes([0x82, 0xFE]) + struct.pack("!H", MAX_SIZE + 1)),
        (1009, frame(TEXT, bytes(MAX_SIZE), fin=False) + frame(CONTINUATION, b"x")),
        (1009, frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * MAX_FRAGMENTS),
    ],
)
def test_whoever_breaks_a_rule_is_told_which(code: int, stream: bytes) -> None:
    assert ours([frame(TEXT, b"before"), stream, frame(TEXT, b"after")]) == [Received(TEXT, "before"), code]


def test_text_in_fragments_is_judged_as_it_comes() -> None:
    parser = Parser(MAX_SIZE, MAX_FRAGMENTS)
    parser.feed(frame(TEXT, "κό".encode()[:3], fin=False))
    assert parser.next() is None, "it ends in the middle of a character"
    parser.feed(frame(CONTINUATION, b"\xff", fin=False))
    with pytest.raises(ProtocolError) as broken:
        parser.next()
    assert broken.value.code == 1007


def test_a_control_frame_between_fragments_is_heard_at_once() -> None:
    stream = frame(TEXT, b"a", fin=False) + frame(PING, b"?") + frame(CONTINUATION, b"b")
    assert ours([stream]) == [Received(PING, b"?"), Received(TEXT, "ab")]
    stream = frame(TEXT, b"a", fin=False) + frame(CLOSE, struct.pack("!H", 1000))
    assert ours([stream]) == [Received(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("control", [frame(PING, bytes(125)), frame(PONG, bytes(125)), frame(PING)])
def test_control_frames_between_fragments_take_nothing_of_its_size(control: bytes) -> None:
    half = bytes(MAX_SIZE // 2)
    stream = frame(BINARY, half, fin=False) + control * 40 + frame(CONTINUATION, half, fin=False) + control
    heard = ours([stream + frame(CONTINUATION)])
    assert heard[-1] == Received(BINARY, half + half)
    assert len(heard) == 42


@pytest.mark.parametrize("control", [frame(PING, bytes(125)), frame(PONG, bytes(125)), frame(PING)])
def test_control_frames_between_fragments_give_back_nothing(control: bytes) -> None:
    half = bytes(MAX_SIZE // 2)
    stream = frame(BINARY, half, fin=False) + control + frame(CONTINUATION, half, fin=False) + control
    assert ours([stream + frame(CONTINUATION, b"x")])[-1] == 1009
    many = frame(TEXT, fin=False) + (control + frame(CONTINUATION, fin=False)) * MAX_FRAGMENTS
    assert ours([many])[-1] == 1009


@st.composite
def interleavings(draw: Any) -> tuple[bytes, Heard]:
    """Generate fragmented messages up to the limit with control frames between them, and the expected result."""
    parts, heard = [], list[Received | int]()
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from([TEXT, BINARY]))
        sizes = draw(st.lists(st.integers(0, MAX_SIZE // 4), min_size=1, max_size=MAX_FRAGMENTS))
        for index, size in enumerate(sizes):
            last, opcode = index == len(sizes) - 1, CONTINUATION if index else kind
            parts.append(masked(opcode, b"*" * size, draw(st.binary(min_size=4, max_size=4)), fin=last))
            if sum(sizes[: index + 1]) > MAX_SIZE:
                return b"".join(parts), [*heard, 1009]
            if last:
                whole = b"*" * sum(sizes)
                heard.append(Received(kind, whole.decode() if kind == TEXT else whole))
            for _ in range(draw(st.integers(0, 3))):
                control, payload = draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125))
                parts.append(masked(control, payload, b"\1\2\3\4"))
                heard.append(Received(control, payload))
    return b"".join(parts), heard


@given(interleavings(), st.lists(st.integers(0, 20_000), max_size=8), st.integers(1, 40))
def test_a_message_has_its_limit_whatever_comes_between_its_fragments(
    told: tuple[bytes, Heard], places: list[int], allowed: int
) -> None:
    stream, expected = told
    assert ours(cut(stream, places)) == expected
    assert in_turns(stream, allowed)[0] == expected


def in_turns(stream: bytes, allowed: int) -> tuple[Heard, list[int]]:
    """Parse one read with a limit of frames per turn; return what was received and the frames of each turn."""
    parser, heard, turns = Parser(MAX_SIZE, MAX_FRAGMENTS), list[Received | int](), list[int]()
    parser.feed(stream)
    while parser:
        parser.allow(allowed)
        turns.append(0)
        frames = Counted(parser)
        try:
            while (received := frames.next()) is not None:
                heard.append(received)
        except ProtocolError as error:
            return [*heard, error.code], [*turns[:-1], frames.count]
        turns[-1] = frames.count
        if not parser.used_up:
            break
    return heard, turns


class Counted:
    """A parser that counts frames by the bytes that leave its buffer."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self.count = 0

    def next(self) -> Received | None:
        before = self._parser._allowed
        try:
            return self._parser.next()
        finally:
            self.count += before - self._parser._allowed


@given(streams(), st.integers(1, 8))
def test_a_turn_parses_no_more_frames_than_it_is_allowed(stream: bytes, allowed: int) -> None:
    heard, turns = in_turns(stream, allowed)
    closed = next(
        (at for at, one in enumerate(heard) if isinstance(one, Received) and one.opcode == CLOSE), None
    )
    if closed is None:
        assert heard == ours([stream])
    assert all(count <= allowed for count in turns)
    assert all(count == allowed for count in turns[:-1]), "a turn ends early only where nothing whole is left"


@given(st.one_of(streams(), st.binary(max_size=400)), st.integers(1, 50))
def test_the_work_of_the_parser_is_bounded_by_the_bytes(stream: bytes, piece: int) -> None:
    """Count calls of Python functions: each frame takes a few, and each read two."""
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        ours(pieces)
    finally:
        sys.setprofile(before)
    assert calls <= 16 + 8 * len(pieces) + 2 * len(stream)


@pytest.mark.parametrize(
    ("crumbs", "stream"),
    [
        (0, frame(TEXT, b"a") + frame(PING)),
        (3, frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION)),
        (0, frame(BINARY, bytes(64), fin=False) + frame(CONTINUATION, bytes(64))),
        (1, frame(BINARY, bytes(63), fin=False) + frame(CONTINUATION, bytes(64))),
    ],
)
def test_fragments_with_next_to_nothing_in_them_are_counted(crumbs: int, stream: bytes) -> None:
    parser = Parser(MAX_SIZE, MAX_FRAGMENTS)
    parser.feed(stream)
    while parser.next() is not None:
        pass
    assert (parser.take_tiny_fragments(), parser.take_tiny_fragments()) == (crumbs, 0)


def test_as_many_fragments_as_allowed_make_a_message() -> None:
    stream = frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * (MAX_FRAGMENTS - 2)
    assert ours([stream + frame(CONTINUATION, b"x")]) == [Received(TEXT, "x")]


@pytest.mark.parametrize(
    "code", [0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 1016, 2999, 3000, 4999, 5000]
)
def test_a_close_code_is_taken_exactly_where_the_library_takes_it(code: int) -> None:
    payload = struct.pack("!H", code) + "späten".encode()
    if code in CLOSE_CODES:
        assert close_of(payload) == (code, "späten")
        assert Close.parse(payload) == Close(code, "späten")
    else:
        with pytest.raises(ProtocolError) as broken:
            close_of(payload)
        assert broken.value.code == 1002


def test_a_close_without_a_code_is_1005() -> None:
    assert close_of(b"") == (1005, "")


def test_what_is_left_of_a_message_is_forgotten_with_it() -> None:
    parser = Parser(MAX_SIZE, MAX_FRAGMENTS)
    parser.feed(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"more")[:3])
    parser.next()
    assert parser
    parser.clear()
    assert not parser
    parser.feed(frame(TEXT, b"new"))
    assert parser.next() == Received(TEXT, "new")


def test_the_frame_of_the_library_is_as_ours_are_in_these_tests() -> None:
    theirs = Frame(Opcode.TEXT, b"x").serialize(mask=False)
    assert theirs == frame(TEXT, b"x", mask=False)
