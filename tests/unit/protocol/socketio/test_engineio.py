"""Engine.IO's packets and payloads, as tables and round trips."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import Kind, NotAPacket, Packet, Problem

TEXTS = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]))
MESSAGES = st.lists(st.one_of(TEXTS, st.binary()), min_size=1, max_size=20)


def decode_payload(body: bytes) -> list[Packet]:
    return list(map(engineio.decode_piece, engineio.split_payload(body)))


def outgoing(data: str | bytes) -> bytes:
    return engineio.binary_message(data) if isinstance(data, bytes) else engineio.message(data.encode())


@pytest.mark.parametrize(
    ("wire", "packet"),
    [
        ("4hello", Packet(Kind.MESSAGE, "hello")),
        ("4", Packet(Kind.MESSAGE, "")),
        (b"\x01\x02", Packet(Kind.MESSAGE, b"\x01\x02")),
        ("1", Packet(Kind.CLOSE, "")),
        ("2probe", Packet(Kind.PING, "probe")),
        ("3", Packet(Kind.PONG, "")),
        ("5", Packet(Kind.UPGRADE, "")),
    ],
)
def test_a_packet_is_a_digit_and_its_data(wire: str | bytes, packet: Packet) -> None:
    assert engineio.decode(wire) == packet


@pytest.mark.parametrize(
    "wire", ["", "abc", "7", "0", "0{}", "2", "2pro", "3probe", "1now", "5x", "6", " 4", "٤x", "bAQ=="]
)
def test_what_no_client_sends_is_no_packet(wire: str) -> None:
    with pytest.raises(NotAPacket):
        engineio.decode(wire)


def test_payload_separates_packets_and_encodes_bytes_in_base64() -> None:
    assert decode_payload(b"4hello\x1ebAQIDBA==\x1e3") == [
        Packet(Kind.MESSAGE, "hello"),
        Packet(Kind.MESSAGE, b"\x01\x02\x03\x04"),
        Packet(Kind.PONG, ""),
    ]
    assert engineio.payload([b"4hello", engineio.binary_message(b"\x01\x02\x03\x04")]) == (
        b"4hello\x1ebAQIDBA=="
    )


@pytest.mark.parametrize(
    "body", [b"", b"\x1e", b"4a\x1e", b"4\xff", b"bAQ=", b"b!!!!", b"4a\x1eabc", b"3\x1e" * 4096 + b"3"]
)
def test_a_payload_with_one_bad_packet_is_none_at_all(body: bytes) -> None:
    with pytest.raises(NotAPacket):
        decode_payload(body)


@given(MESSAGES)
def test_messages_come_out_of_a_payload_as_they_went_in(messages: list[str | bytes]) -> None:
    body = engineio.payload([outgoing(one) for one in messages])
    assert [packet.data for packet in decode_payload(body)] == messages


@given(st.binary())
def test_only_a_binary_message_holds_bytes(data: bytes) -> None:
    assert engineio.binary_of(engineio.binary_message(data)) == data
    assert engineio.binary_of(engineio.message(data)) is None


@given(st.binary())
def test_any_body_is_packets_or_refused(body: bytes) -> None:
    try:
        packets = decode_payload(body)
    except NotAPacket:
        return
    assert len(packets) == body.count(b"\x1e") + 1


def test_a_session_opens_with_what_clients_read() -> None:
    told = engineio.Opening(
        sid="x", upgrades=("websocket",), ping_interval=300, ping_timeout=200, max_payload=9
    )
    packet = engineio.opening(told)
    assert packet[:1] == b"0"
    assert json.loads(packet[1:]) == {
        "sid": "x", "upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 9,
    }  # fmt: skip


@pytest.mark.parametrize("problem", Problem)
def test_a_refusal_has_a_number_and_a_sentence(problem: Problem) -> None:
    body = json.loads(engineio.problem_body(problem))
    assert body == {"code": problem.value, "message": problem.sentence}
    assert problem.status == (403 if problem is Problem.FORBIDDEN else 400)
