"""Checks frames with the parser of the `websockets` library, which shares no code with this server."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from service.gateway.websocket.frames import HEARTBEAT, binary_frame, close_frame, text_frame

EDGES = [0, 1, 125, 126, 127, 65535, 65536, 200_000]


def read(data: bytes) -> list[Frame]:
    client = ClientProtocol(parse_uri("ws://server/"), state=OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    assert not client.reader.buffer, "bytes are left over"
    return [event for event in client.events_received() if isinstance(event, Frame)]


@given(st.integers(0, 70_000), st.binary(min_size=1, max_size=8))
@example(125, b"a")
@example(126, b"a")
@example(65535, b"a")
@example(65536, b"a")
@example(200_000, b"a")
def test_a_text_frame_reads_back_as_its_payload(size: int, pattern: bytes) -> None:
    payload = (pattern * size)[:size]
    assert read(text_frame(payload)) == [Frame(Opcode.TEXT, bytearray(payload))]


@pytest.mark.parametrize("size", EDGES)
def test_a_binary_frame_reads_back_as_its_payload(size: int) -> None:
    assert read(binary_frame(b"\xff" * size)) == [Frame(Opcode.BINARY, bytearray(b"\xff" * size))]


@pytest.mark.parametrize(("size", "header"), [(125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_the_length_takes_the_shortest_of_its_three_forms(size: int, header: int) -> None:
    assert len(text_frame(b"a" * size)) == header + size


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_joined_frames_read_back_one_by_one(payloads: list[bytes]) -> None:
    assert [bytes(frame.data) for frame in read(b"".join(map(text_frame, payloads)))] == payloads


@given(st.integers(3000, 4999), st.text(max_size=30))
def test_a_close_frame_reads_back_as_its_code_and_reason(code: int, reason: str) -> None:
    (frame,) = read(close_frame(code, reason))
    assert frame.opcode is Opcode.CLOSE
    assert Close.parse(frame.data) == Close(code, reason)


@given(st.integers(0, 5100))
def test_a_close_code_is_refused_exactly_where_the_library_refuses_it(code: int) -> None:
    try:
        Close(code, "").check()
    except ProtocolError:
        with pytest.raises(ValueError, match="close code"):
            close_frame(code)
    else:
        assert read(close_frame(code))


def test_a_close_reason_of_123_bytes_is_the_longest() -> None:
    assert read(close_frame(1000, "é" * 61 + "a"))
    with pytest.raises(ValueError, match="at most 123 bytes, not 124"):
        close_frame(1000, "é" * 62)


def test_the_heartbeat_is_an_empty_ping() -> None:
    assert read(HEARTBEAT) == [Frame(Opcode.PING, bytearray())]
