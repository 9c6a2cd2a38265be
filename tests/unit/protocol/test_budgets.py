"""The work and the memory of decoders stay within a budget per byte, for any pieces repeated in any order."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import OnRecordError
from service.gateway.http.request import MAX_BODY
from service.protocol.commands import COMMANDS
from service.protocol.native import NotAFrame, decode, decode_connect, parse
from service.protocol.socketio import engineio, packets
from service.protocol.socketio.emits import decode_auth, decode_command
from service.protocol.strict_json import NotJson, check_strings, parse_json
from tests.support.protocol.budget import CONSTANT, peak, pumped
from tests.support.protocol.work import work

PER_BYTE = 150
"""Instructions, and characters handed on."""

HELD_PER_BYTE = 100
"""Bytes of memory; a list of empty objects takes most."""

SIZE = 2_000
LARGE = MAX_BODY

JSON = [
    "{", "}", "[", "]", ",", ":", '"', '"":', '"k":', '"k":0,', '"type":', '"room:list"', "0,", "-1.5e9,", "9",
    '"",', "{},", "[],", '{"a":0,"a":0},', "\\u0000", "\\ud800", "\\\\", "null,", "true", " ", "\n", "a", "é",
    "🦊", '"_placeholder":true,', '"num":0,', "NaN", "1e9999,", '"' + "k" * 100 + '":',
]  # fmt: skip

WELL_FORMED = st.recursive(
    st.sampled_from([0, 1.5, "", "a", "é🦊", None, "\0", "\ud800", 10**25, {"_placeholder": True, "num": 0}]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("kü", max_size=2), inner, max_size=5),
    max_leaves=20,
)


def repeated(value: object, size: int) -> str:
    """Return JSON of a value, repeated in an object and a list."""
    one = json.dumps(value)
    return f'{{"type":"room:list","a":[{",".join([one] * (size // (len(one) + 1)))}]}}'


def texts(size: int) -> st.SearchStrategy[str]:
    return pumped(JSON, size) | WELL_FORMED.map(lambda value: repeated(value, size))


def native(text: str) -> None:
    for read in (decode, decode_connect):
        with suppress(OnRecordError, NotAFrame):
            read(text, parse(text))


def commands(text: str) -> None:
    """Read a text as the fields of each command."""
    for kind in COMMANDS:
        with suppress(OnRecordError, NotAFrame):
            whole = f'{{"type":"{kind}",{text}'
            decode(whole, parse(whole))


def http_body(text: str) -> None:
    with suppress(OnRecordError, NotJson):
        check_strings(parse_json(text), "$")


def socketio(text: str) -> None:
    for head in ("0", "0/n,", "2", "40", '2["room:list",', "3", "51-", '510-["room:list",'):
        decoder = packets.Decoder(1024)
        with suppress(packets.NotAPacket, OnRecordError):
            received = decoder.feed(head + text)
            while received is None:
                received = decoder.feed(b"")
            packet = received.packet()
            (decode_auth if packet.kind is packets.Kind.CONNECT else lambda it: decode_command(it, str))(
                packet
            )


@pytest.mark.parametrize("read", [native, http_body, socketio])
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_work_of_json_is_within_its_budget(read: Callable[[str], None], data: st.DataObject) -> None:
    text = data.draw(texts(SIZE))
    times = {"native": 2, "http_body": 1, "socketio": 8}[read.__name__]
    assert work(lambda: read(text)) <= times * (4_000 + PER_BYTE * len(text))


@given(texts(SIZE // 4))
@settings(max_examples=25, deadline=None)
def test_the_work_of_a_command_is_within_its_budget(text: str) -> None:
    assert work(lambda: commands(text)) <= len(COMMANDS) * (4_000 + PER_BYTE * len(text))


@pytest.mark.parametrize("read", [native, http_body, socketio])
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_memory_of_json_is_within_its_budget(read: Callable[[str], None], data: st.DataObject) -> None:
    text = data.draw(texts(LARGE))
    with suppress(RecursionError):
        read(text)  # what is made once is made
    assert peak(lambda: read(text)) <= CONSTANT + HELD_PER_BYTE * len(text.encode())


PAYLOAD = [
    "\x1e",
    "4",
    "2probe",
    "3",
    "5",
    "1",
    "6",
    "b",
    "bAAAA",
    "AAAA",
    "=",
    "b=",
    "40",
    "42[]",
    "é",
    "🦊",
    "\0",
    "x",
]


def all_packets(body: bytes) -> list[engineio.Packet]:
    with suppress(engineio.NotAPacket):
        return [engineio.decode_piece(piece) for piece in engineio.split_payload(body)]
    return []


@given(pumped(PAYLOAD, SIZE))
@settings(max_examples=100, deadline=None)
def test_the_work_of_a_payload_is_within_its_budget(text: str) -> None:
    assert work(lambda: all_packets(text.encode())) <= 4_000 + PER_BYTE * len(text)


@given(pumped(PAYLOAD, 64 * 1024))
@settings(max_examples=100, deadline=None)
def test_the_memory_of_a_payload_is_within_its_budget(text: str) -> None:
    """A payload of one emoji and ASCII is four times as large as a text; each packet is an object besides."""
    body = text.encode()
    pieces = min(body.count(b"\x1e") + 1, engineio.MAX_PACKETS)
    assert peak(lambda: all_packets(body)) <= CONSTANT + 16 * len(body) + 300 * pieces


@given(st.integers(0, 12), st.lists(st.binary(max_size=300), max_size=12), texts(SIZE))
@settings(max_examples=60, deadline=None)
def test_attachments_are_put_back_within_the_budget(number: int, attached: list[bytes], text: str) -> None:
    def read() -> None:
        decoder = packets.Decoder(2_000)
        with suppress(packets.NotAPacket):
            decoder.feed(f"5{number}-" + '["a",' + text + "]")
            for data in attached:
                if (received := decoder.feed(data)) is not None:
                    received.packet()

    size = len(text) + sum(map(len, attached))
    assert work(read) <= 8_000 + PER_BYTE * size
    assert peak(read) <= CONSTANT + HELD_PER_BYTE * (size + len(text.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("placeholders", [1, 50, 500])
def test_one_attachment_in_many_places_is_one_object(placeholders: int) -> None:
    decoder = packets.Decoder(1 << 20)
    items = ",".join(['{"_placeholder":true,"num":0}'] * placeholders)
    assert decoder.feed(f'51-["a",{items}]') is None
    received = decoder.feed(bytes(1 << 20))
    assert received is not None
    assert len({id(item) for item in received.packet().data[1:]}) == 1
