"""The cases of the Autobahn test suite for servers, sections 1 to 7, 9 and 10, after their published descriptions.

The suite itself runs on Python 2 alone; this module has its cases, not its code, and sends them to an echo server over
TCP. Section 8 does not exist, and 12 and 13 are about compression, which is not offered. The strict answers are
required.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.support.clients.raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Peer,
    close_payload,
    frame,
)
from tests.support.servers.asgi_endpoint import Everywhere
from tests.support.servers.websocket_server import LiveServer, echo

MEBIBYTE = 1024 * 1024
LARGEST = 16 * MEBIBYTE

Answers = Sequence[tuple[int, bytes]]


@pytest.fixture(scope="module")
def one_server(
    factory: Callable[..., type[asyncio.Protocol]], loop_factory: Callable[[], Any]
) -> Iterator[LiveServer]:
    """Return one server for all cases; each case has its own connection."""
    protocol = factory(endpoints=Everywhere(echo), close_timeout=20.0, max_fragments=100_000)
    with LiveServer(echo, protocol, loop_factory, LARGEST) as server:
        yield server
    assert server.errors == []


@pytest.fixture
def server(one_server: LiveServer) -> Iterator[LiveServer]:
    yield one_server
    assert one_server.errors == []


def say(peer: Peer, sent: bytes, chop: int = 0) -> None:
    """Send bytes at once, or `chop` bytes at a time."""
    pieces = [sent[at : at + chop] for at in range(0, len(sent), chop)] if chop else [sent]
    for piece in pieces:
        peer.socket.sendall(piece)


def answers(server: LiveServer, sent: bytes, expected: Answers, chop: int = 0) -> None:
    """Send frames and a clean close; check that the answers arrive in order, and then the close."""
    with Peer(server.port).shake_hands() as peer:
        say(peer, sent, chop)
        assert [peer.read() for _ in expected] == list(expected)
        peer.send(CLOSE, close_payload(1000))
        assert peer.read() == (CLOSE, close_payload(1000))


def fails(server: LiveServer, code: int, sent: bytes, expected: Answers = (), chop: int = 0) -> None:
    """Send frames of which one violates the protocol; check that the connection then fails.

    The frames before it may or may not be answered: the application races with the failure.
    """
    with Peer(server.port).shake_hands() as peer:
        with suppress(ConnectionError):  # the server may close before everything is sent
            say(peer, sent, chop)
        heard = [peer.read()]
        while heard[-1][0] != CLOSE:
            heard.append(peer.read())
        assert heard[-1][1][:2] == close_payload(code)
        assert heard[:-1] == list(expected)[: len(heard) - 1]
        assert peer.read_to_the_end() == b""


# 1: framing.


@pytest.mark.parametrize("length", [0, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_1_messages_of_every_form_of_length(server: LiveServer, opcode: int, length: int) -> None:
    payload = b"*" * length if opcode == TEXT else b"\xfe" * length
    answers(server, frame(opcode, payload), [(opcode, payload)])


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_1_1_8_a_long_message_in_chops_of_997(server: LiveServer, opcode: int) -> None:
    answers(server, frame(opcode, b"*" * 65_536), [(opcode, b"*" * 65_536)], chop=997)


# 2: pings and pongs.


@pytest.mark.parametrize("chop", [0, 1])
@pytest.mark.parametrize(
    "payload", [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125]
)
def test_2_a_ping_is_answered_with_its_payload(server: LiveServer, payload: bytes, chop: int) -> None:
    answers(server, frame(PING, payload), [(PONG, payload)], chop)


def test_2_5_a_ping_of_126_bytes_fails(server: LiveServer) -> None:
    fails(server, 1002, frame(PING, b"\xfe" * 126))


@pytest.mark.parametrize("payload", [b"", b"unsolicited pong payload"])
def test_2_7_to_2_9_an_unsolicited_pong_is_ignored(server: LiveServer, payload: bytes) -> None:
    answers(server, frame(PONG, payload) + frame(PING, b"ping"), [(PONG, b"ping")])


@pytest.mark.parametrize("chop", [0, 1])
def test_2_10_and_2_11_ten_pings_are_answered_in_order(server: LiveServer, chop: int) -> None:
    payloads = [f"payload-{number}".encode() for number in range(10)]
    sent = b"".join(frame(PING, payload) for payload in payloads)
    answers(server, sent, [(PONG, payload) for payload in payloads], chop)


# 3: reserved bits.


@pytest.mark.parametrize("chop", [0, 1])
@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_3_a_reserved_bit_fails(server: LiveServer, opcode: int, reserved: int, chop: int) -> None:
    payload = close_payload(1000) if opcode == CLOSE else b"*"
    sent = frame(TEXT, b"Hello, world!") + frame(opcode, payload, reserved=reserved) + frame(PING)
    fails(server, 1002, sent, [(TEXT, b"Hello, world!")], chop)


# 4: opcodes.

HELLO = [(TEXT, b"Hello, world!")]


@pytest.mark.parametrize("chop", [0, 1])
@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_4_a_reserved_opcode_fails(server: LiveServer, opcode: int, payload: bytes, chop: int) -> None:
    fails(server, 1002, frame(TEXT, b"Hello, world!") + frame(opcode, payload) + frame(PING), HELLO, chop)


# 5: fragmentation.

ONE, TWO = b"fragment1", b"fragment2"


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_5_1_and_5_2_a_control_frame_in_fragments_fails(server: LiveServer, opcode: int) -> None:
    fails(server, 1002, frame(opcode, ONE, fin=False) + frame(CONT, TWO))


@pytest.mark.parametrize("chop", [0, 1])
def test_5_3_to_5_5_fragments_are_one_message(server: LiveServer, chop: int) -> None:
    answers(server, frame(TEXT, ONE, fin=False) + frame(CONT, TWO), [(TEXT, ONE + TWO)], chop)


@pytest.mark.parametrize("chop", [0, 1])
def test_5_6_to_5_8_a_ping_between_fragments_is_answered_first(server: LiveServer, chop: int) -> None:
    sent = frame(TEXT, ONE, fin=False) + frame(PING, b"ping payload") + frame(CONT, TWO)
    answers(server, sent, [(PONG, b"ping payload"), (TEXT, ONE + TWO)], chop)


@pytest.mark.parametrize("chop", [0, 1])
@pytest.mark.parametrize("fin", [True, False])
def test_5_9_to_5_14_a_continuation_of_nothing_fails(server: LiveServer, chop: int, *, fin: bool) -> None:
    fails(server, 1002, frame(CONT, b"non-continuation payload", fin=fin) + frame(TEXT, b"Hello"), (), chop)


def test_5_15_a_continuation_after_the_last_fails(server: LiveServer) -> None:
    sent = frame(TEXT, ONE, fin=False) + frame(CONT, TWO) + frame(CONT, b"3", fin=False) + frame(TEXT, b"4")
    fails(server, 1002, sent, [(TEXT, ONE + TWO)])


@pytest.mark.parametrize("fin", [True, False])
def test_5_16_and_5_17_continuations_before_any_message_fail(server: LiveServer, *, fin: bool) -> None:
    one = frame(CONT, ONE, fin=fin) + frame(TEXT, TWO, fin=False) + frame(CONT, b"3")
    fails(server, 1002, one * 2)


def test_5_18_a_message_within_a_message_fails(server: LiveServer) -> None:
    fails(server, 1002, frame(TEXT, ONE, fin=False) + frame(TEXT, TWO))


@pytest.mark.parametrize("chop", [0, 1])
def test_5_19_and_5_20_five_fragments_with_two_pings(server: LiveServer, chop: int) -> None:
    sent = frame(TEXT, b"1", fin=False) + frame(CONT, b"2", fin=False) + frame(PING, b"first")
    sent += frame(CONT, b"3", fin=False) + frame(CONT, b"4", fin=False) + frame(PING, b"second")
    answers(server, sent + frame(CONT, b"5"), [(PONG, b"first"), (PONG, b"second"), (TEXT, b"12345")], chop)


# 6: UTF-8.

GREEK = "Hello-µ@ßöäüàá-UTF-8!!".encode()
VALID = [
    "κόσμε".encode(),
    *(chr(point).encode() for point in (0x0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF)),
    *(chr(point).encode() for point in (0x10000, 0x10FFFF)),
    *(chr(plane << 16 | 0xFFFE).encode() + chr(plane << 16 | 0xFFFF).encode() for plane in range(17)),
    b"\xef\xbb\xbf",
]
INVALID = [
    *(bytes([one]) for one in (0x80, 0xBF, 0xC0, 0xC1, 0xF5, 0xFE, 0xFF)),
    *(b"\x80" * count for count in range(2, 8)),
    b"".join(bytes([one]) + b" " for one in range(0xC0, 0xE0)),
    b"".join(bytes([one]) + b" " for one in range(0xE0, 0xF0)),
    *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"),
    *(b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"),
    b"\xfe\xfe\xff\xff",
    *(
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
    ),
    *(
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
    ),
    *(
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xf8\x80\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80\x80",
    ),
    *(b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf"),
    *(b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf"),
    *(b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
]


def in_fragments(payload: bytes, sizes: Iterator[int]) -> bytes:
    pieces, begun = [], 0
    while begun < len(payload):
        size = next(sizes)
        pieces.append(payload[begun : begun + size])
        begun += size
    last = len(pieces) - 1
    return b"".join(
        frame(CONT if index else TEXT, piece, fin=index == last) for index, piece in enumerate(pieces)
    )


def test_6_1_empty_text_in_one_and_three_fragments(server: LiveServer) -> None:
    empty = frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False)
    sent = frame(TEXT, b"") + empty + frame(CONT, b"") + empty + frame(CONT, b"middle")
    answers(server, sent, [(TEXT, b""), (TEXT, b""), (TEXT, b"middle")])


@pytest.mark.parametrize("size", [1, 2, 100])
def test_6_2_and_6_5_to_6_7_valid_text_comes_back(server: LiveServer, size: int) -> None:
    payloads = [GREEK, *VALID]
    sent = b"".join(in_fragments(payload, itertools.repeat(size)) for payload in payloads)
    answers(server, sent, [(TEXT, payload) for payload in payloads])


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("payload", INVALID, ids=lambda payload: payload.hex()[:24])
def test_6_3_and_6_8_to_6_21_invalid_text_fails(server: LiveServer, payload: bytes, size: int) -> None:
    fails(server, 1007, in_fragments("κόσμε".encode() + payload + b"edited", itertools.repeat(size)))
    fails(server, 1007, in_fragments(payload, itertools.repeat(size)))


def test_6_4_invalid_text_fails_at_the_fragment_that_has_it(server: LiveServer) -> None:
    with Peer(server.port).shake_hands() as peer:
        peer.send(TEXT, "κόσμε".encode(), fin=False)
        peer.send(CONT, b"\xf4\x90\x80\x80", fin=False)
        assert peer.read_close()[0] == 1007


# 7: closing.


def test_7_1_what_follows_a_close_is_not_answered(server: LiveServer) -> None:
    for after in (frame(TEXT, b"late"), frame(PING), frame(CLOSE, close_payload(1000)), frame(CONT, TWO)):
        with Peer(server.port).shake_hands() as peer:
            say(peer, frame(TEXT, b"Hello") + frame(CLOSE, close_payload(1000)) + after)
            # A message directly before a close may or may not be echoed: the application races with the close.
            heard = [peer.read()]
            while heard[-1][0] != CLOSE:
                heard.append(peer.read())
            assert heard[-1] == (CLOSE, close_payload(1000))
            assert heard[:-1] in ([], [(TEXT, b"Hello")])
            assert peer.read_to_the_end() == b""


def test_7_1_5_a_close_between_fragments_is_a_close(server: LiveServer) -> None:
    with Peer(server.port).shake_hands() as peer:
        say(peer, frame(TEXT, ONE, fin=False) + frame(CLOSE, close_payload(1000)) + frame(CONT, TWO))
        assert peer.read() == (CLOSE, close_payload(1000))


def test_7_1_6_a_close_behind_a_long_message_is_found(server: LiveServer) -> None:
    with Peer(server.port).shake_hands() as peer:
        say(peer, frame(TEXT, b"*" * 256 * 1024) + frame(TEXT, b"Hello") + frame(CLOSE) + frame(PING))
        assert peer.read_close()[0] in (0, 1000)


@pytest.mark.parametrize("payload", [b"", close_payload(1000), close_payload(1000, "Hello World!")])
def test_7_3_a_close_is_answered_with_what_it_said(server: LiveServer, payload: bytes) -> None:
    with Peer(server.port).shake_hands() as peer:
        peer.send(CLOSE, payload)
        assert peer.read() == (CLOSE, payload)


def test_7_3_5_the_longest_reason_is_taken_and_7_3_6_one_more_byte_fails(server: LiveServer) -> None:
    with Peer(server.port).shake_hands() as peer:
        peer.send(CLOSE, close_payload(1000, "*" * 123))
        assert peer.read() == (CLOSE, close_payload(1000, "*" * 123))
    fails(server, 1002, frame(CLOSE, close_payload(1000, "*" * 124)))
    fails(server, 1002, frame(CLOSE, b"\x03"))


def test_7_5_a_reason_that_is_no_utf_8_fails(server: LiveServer) -> None:
    fails(server, 1007, frame(CLOSE, close_payload(1000) + b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"))


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
def test_7_7_codes_that_may_be_sent_come_back(server: LiveServer, code: int) -> None:
    with Peer(server.port).shake_hands() as peer:
        peer.send(CLOSE, close_payload(code))
        assert peer.read() == (CLOSE, close_payload(code))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_7_9_and_7_13_codes_that_may_not_be_sent_fail(server: LiveServer, code: int) -> None:
    fails(server, 1002, frame(CLOSE, close_payload(code)))


# 9: large messages, and 10: many small frames.


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [65_536, 262_144, MEBIBYTE, 4 * MEBIBYTE, 8 * MEBIBYTE, LARGEST])
def test_9_1_and_9_2_large_messages_come_back(server: LiveServer, size: int, opcode: int) -> None:
    payload = b"*" * size
    answers(server, frame(opcode, payload), [(opcode, payload)])


@pytest.mark.parametrize("size", [64, 1024, 65_536, 4 * MEBIBYTE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_9_3_and_9_4_four_mebibytes_in_fragments(server: LiveServer, opcode: int, size: int) -> None:
    sent = in_fragments(b"*" * 4 * MEBIBYTE, itertools.repeat(size))
    if opcode == BINARY:
        sent = bytes([sent[0] & 0xF0 | BINARY]) + sent[1:]
    answers(server, sent, [(opcode, b"*" * 4 * MEBIBYTE)])


@pytest.mark.parametrize("chop", [64, 128, 512, 2048])
def test_9_5_and_9_6_a_mebibyte_in_chops(server: LiveServer, chop: int) -> None:
    answers(server, frame(TEXT, b"*" * MEBIBYTE), [(TEXT, b"*" * MEBIBYTE)], chop)


@pytest.mark.parametrize("size", [0, 16, 64, 1024, 16_384])
def test_9_7_and_9_8_a_thousand_round_trips(server: LiveServer, size: int) -> None:
    with Peer(server.port).shake_hands() as peer:
        for _ in range(1000):
            peer.send(TEXT, b"*" * size)
            assert peer.read() == (TEXT, b"*" * size)


def test_10_1_1_a_message_in_frames_of_1300(server: LiveServer) -> None:
    answers(server, in_fragments(b"*" * 65_536, itertools.repeat(1300)), [(TEXT, b"*" * 65_536)])
