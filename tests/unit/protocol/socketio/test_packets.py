"""Socket.IO's packets, as tables and round trips."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.protocol.socketio import packets
from service.protocol.socketio.packets import RESERVED, Decoder, Kind, NotAPacket, Packet

NAMESPACES = st.one_of(
    st.just("/"), st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"])).map("/".__add__)
)
PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.text(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text().filter(lambda key: key != "_placeholder"), inner, max_size=4),
    ),
    max_leaves=15,
)
ARGUMENTS = st.lists(st.one_of(PLAIN, st.binary(max_size=50)), max_size=8)
NAMES = st.text().filter(lambda name: name not in RESERVED)


def decode(text: str, *attachments: bytes) -> Packet:
    decoder = Decoder(1000)
    packet = decoder.feed(text)
    for attachment in attachments:
        assert packet is None
        packet = decoder.feed(attachment)
    assert packet is not None
    return packet.packet()


@pytest.mark.parametrize(
    ("text", "kind", "namespace", "data", "ack_id"),
    [
        ("0", Kind.CONNECT, "/", None, None),
        ('0{"token":"123"}', Kind.CONNECT, "/", {"token": "123"}, None),
        ("0/custom,", Kind.CONNECT, "/custom", None, None),
        ("0/custom", Kind.CONNECT, "/custom", None, None),
        ('0/custom,{"token":"abc"}', Kind.CONNECT, "/custom", {"token": "abc"}, None),
        ("1", Kind.DISCONNECT, "/", None, None),
        ("1/custom,", Kind.DISCONNECT, "/custom", None, None),
        ('2["hey"]', Kind.EVENT, "/", ["hey"], None),
        ('2[1,{"3":[true]}]', Kind.EVENT, "/", [1, {"3": [True]}], None),
        ('2456["hey",1]', Kind.EVENT, "/", ["hey", 1], 456),
        ('2/a/b?c=d,0["hey"]', Kind.EVENT, "/a/b?c=d", ["hey"], 0),
        ("313[]", Kind.ACK, "/", [], 13),
        ("3/admin,13[1]", Kind.ACK, "/admin", [1], 13),
        ('50-["hey"]', Kind.EVENT, "/", ["hey"], None),
    ],
)
def test_a_packet_is_read_as_it_was_meant(
    text: str, kind: Kind, namespace: str, data: Any, ack_id: int | None
) -> None:
    packet = decode(text)
    assert packet[:4] == (kind, namespace, data, ack_id)


def test_attachments_come_to_their_places() -> None:
    text = '52-/x,7["hey",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]'
    packet = decode(text, b"\x01", b"\x02")
    assert packet[:4] == (Kind.EVENT, "/x", ["hey", b"\x02", [b"\x01"]], 7)


@pytest.mark.parametrize(
    "text",
    [
        "", "abc", "7", "9[]", "a", '"hey"', "٢[]",
        "2", "2{}", "2[]", '2"hey"', "2null", "2[null]", "2[true]", "2[[]]", "2[NaN]", '2["a",Infinity]', '2["a"',
        "2abc[1]", '2-1["a"]', '21-["a"]', '24.5["a"]', '2["a"]x', '29007199254740992["a"]',
        *(f'2["{name}"]' for name in sorted(RESERVED)),
        "0[]", '0"x"', "0null", "01{}", "1{}", "11", "1[]",
        "3[]", "313{}", "313", '4{"message":"x"}', "4",
        '5["a"]', '5-["a"]', '511-["a"]', '5x-["a"]', '5 1-["a"]', '50-["a",{"_placeholder":true,"num":0}]',
        '2["a",' + "[" * 40 + "]" * 40 + "]",
    ],
)  # fmt: skip
def test_what_no_client_sends_is_no_packet(text: str) -> None:
    with pytest.raises(NotAPacket):
        decode(text)


@pytest.mark.parametrize(
    "messages",
    [
        [b"\x01"],
        ['51-["a",{"_placeholder":true,"num":0}]', '2["b"]'],
        ['51-["a",{"_placeholder":true,"num":1}]', b"\x01"],
        ['51-["a",{"_placeholder":true,"num":-1}]', b"\x01"],
        ['51-["a",{"_placeholder":true}]', b"\x01"],
        ['51-["a",{"_placeholder":true,"num":"0"}]', b"\x01"],
        ['51-[{"_placeholder":true,"num":0}]', b"\x01"],
        ['52-["a",{"_placeholder":true,"num":0}]', b"\x01" * 600, b"\x01" * 600],
    ],
)
def test_attachments_that_belong_to_nothing_are_refused(messages: list[str | bytes]) -> None:
    decoder = Decoder(1000)
    with pytest.raises(NotAPacket):
        for message in messages:
            received = decoder.feed(message)
            assert received is None or received.packet() is None


@given(st.sampled_from([Kind.EVENT, Kind.ACK]), NAMESPACES, NAMES, ARGUMENTS, st.integers(0, 2**53 - 1))
def test_packets_come_out_as_they_went_in(
    kind: Kind, namespace: str, name: str, arguments: list[Any], ack_id: int
) -> None:
    data = [name, *arguments]
    text, attachments = packets.encode(kind, namespace, data, ack_id)
    decoder = Decoder(1000)
    if len(attachments) > 10:
        return
    packet = decoder.feed(text.decode())
    for attachment in attachments:
        assert packet is None
        packet = decoder.feed(attachment)
    assert packet is not None
    assert packet.packet()[:4] == (kind, namespace, data, ack_id)


@given(st.text())
def test_any_text_is_a_packet_or_refused(text: str) -> None:
    try:
        received = Decoder(1000).feed(text)
        packet = received and received.packet()
    except NotAPacket:
        return
    assert packet is None or packet.namespace.startswith("/")


def test_the_text_of_a_packet_is_the_reference_s() -> None:
    assert packets.encode(Kind.EVENT, "/admin", ["baz", b"\x01", b"\x02"], 3) == (
        b'52-/admin,3["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        [b"\x01", b"\x02"],
    )
    assert packets.encode(Kind.CONNECT_ERROR, "/random", {"message": "Invalid namespace"}) == (
        b'4/random,{"message":"Invalid namespace"}',
        [],
    )
    assert packets.encode(Kind.ACK, "/", [], 0) == (b"30[]", [])
    assert json.loads(packets.encode(Kind.EVENT, data=["x", float("nan")])[0][1:]) == ["x", None]
