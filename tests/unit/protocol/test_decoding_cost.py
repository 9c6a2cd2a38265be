"""What reading a frame costs, against the size of the frame: linear, for every shape, and errors of bounded length.

The work is counted (`tests.support.protocol.work`), not timed.
"""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import OnRecordError
from service.protocol.native import NotAFrame, decode, decode_connect, encode_error, parse, ref_of
from service.protocol.socketio import packets
from service.protocol.socketio.emits import decode_auth, decode_command
from service.protocol.strict_json import MOST_SHOWN, Duplicate, check_strings, parse_json, shortened
from tests.support.protocol.work import work

LARGEST = 1_200
"""Bytes of an answer that refuses a frame: its fields, and a sentence in which a character may take six."""

PER_CHARACTER = 150
"""Instructions, and characters handed on, that one character of a frame may cost; the shapes here cost up to 100."""

UNFIT = "\\u0000"


def members(count: int, key: Callable[[int], str] = "k{}".format) -> str:
    return ",".join(f'"{key(number)}":0' for number in range(count))


SHAPES: dict[str, Callable[[int], str]] = {
    "a long key over many items": lambda n: f'{{"{"k" * n}":[{",".join("0" * (n // 2))}]}}',
    "a long key over many keys": lambda n: f'{{"{"k" * n}":{{{members(n // 8)}}}}}',
    "long keys in long keys": lambda n: f'{{"{"k" * n}":' * 30 + "0" + "}" * 30,
    "long keys over lists in lists": lambda n: (
        f'{{"{"k" * n}":' * 8 + "[" * 8 + "0," * n + "0" + "]" * 8 + "}" * 8
    ),
    "deep nesting of lists": lambda n: '{"a":' + "[" * n + "]" * n + "}",
    "deep nesting of objects": lambda n: '{"a":' * n + "0" + "}" * n,
    "as deep as may be, again and again": lambda n: (
        '{"a":[' + ",".join(["[" * 29 + "]" * 29] * (n // 58)) + "]}"
    ),
    "many keys": lambda n: f"{{{members(n)}}}",
    "many keys of one object that came twice": lambda n: f'{{{members(n)},"k0":0}}',
    "one key again and again": lambda n: f"{{{members(n, lambda _: 'k')}}}",
    "long keys that came twice": lambda n: f'{{"{"k" * n}":0,"{"k" * n}":0}}',
    "many objects with keys that came twice": lambda n: '{"a":[' + ",".join(['{"b":0,"b":0}'] * n) + "]}",
    "many small items": lambda n: '{"a":[' + ",".join(["0"] * n) + "]}",
    "many empty texts": lambda n: '{"a":[' + ",".join(['""'] * n) + "]}",
    "many empty objects": lambda n: '{"a":[' + ",".join(["{}"] * n) + "]}",
    "a long text": lambda n: '{"a":"' + "a" * n + '","b":{}}',
    "a long text of escapes": lambda n: '{"a":"' + "\\u00e9" * n + '"}',
    "a long text of pairs": lambda n: '{"a":"' + "\\ud83e\\udd8a" * n + '"}',
    "a long text of backslashes": lambda n: '{"a":"' + "\\\\" * n + '\\u0041"}',
    "a long text with NUL at its end": lambda n: '{"a":"' + "a" * n + UNFIT + '"}',
    "a long key with NUL at its end": lambda n: '{"a":{"' + "a" * n + UNFIT + '":0}}',
    "NUL below long keys": lambda n: f'{{"{"k" * n}":' * 20 + f'"{UNFIT}"' + "}" * 20,
    "NUL behind many items": lambda n: f'{{"{"k" * n}":[' + "0," * n + f'"{UNFIT}"]}}',
    "a huge integer": lambda n: f'{{"a":{"9" * n}}}',
    "a huge fraction": lambda n: f'{{"a":0.{"0" * n}1}}',
    "a huge exponent": lambda n: f'{{"a":1e{"9" * n}}}',
    "many long numbers": lambda n: '{"a":[' + ",".join(["9" * 25] * n) + "]}",
    "a long type": lambda n: f'{{"type":"{"t" * n}"}}',
    "a long ref": lambda n: f'{{"type":"room:list","ref":"{"r" * n}"}}',
    "a long unknown field": lambda n: f'{{"type":"room:list","{"x" * n}":0}}',
    "many unknown fields": lambda n: f'{{"type":"room:list",{members(n)}}}',
    "a long unknown status": lambda n: f'{{"type":"presence:set","status":"{"x" * n}"}}',
    "many rooms": lambda n: f'{{"type":"connect","protocol":1,"rooms":{{{members(n)}}}}}',
    "a long room": lambda n: f'{{"type":"connect","protocol":1,"rooms":{{"{"r" * n}":0}}}}',
    "no JSON at the end": lambda n: '{"a":[' + "0," * n,
    "lines and no JSON": lambda n: "\n" * n + "x",
    "a long unfinished text": lambda n: '{"a":"' + "a" * n,
}


def answer(text: str) -> bytes:
    """What a frame is answered with at the native door, as `connect` and as any command."""
    answers = b""
    for read in (decode, decode_connect):
        try:
            value = parse(text)
            ref_of(value)
            read(text, value)
        except OnRecordError as error:
            answers = max(answers, encode_error(None, error), key=len)
        except NotAFrame as error:
            answers = max(answers, str(error).encode(), key=len)
    return answers


def answer_by_socketio(text: str) -> bytes:
    """What the same is answered with as the payload of an event, and as `auth`."""
    answers = b""
    for head, read in (("0", decode_auth), ('2["room:list",', lambda packet: decode_command(packet, str))):
        try:
            packet = packets.Decoder(0).feed(head + text + ("]" if head != "0" else ""))
            assert packet is not None
            read(packet.packet())
        except OnRecordError as error:
            answers = max(answers, encode_error(None, error), key=len)
        except packets.NotAPacket as error:
            answers = max(answers, str(error).encode(), key=len)
    return answers


@pytest.mark.parametrize("door", [answer, answer_by_socketio])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_of_reading_a_frame_is_linear_in_its_size(shape: str, door: Callable[[str], bytes]) -> None:
    texts = [SHAPES[shape](n) for n in (250, 500, 1000, 2000)]
    door(texts[0])  # what is made once is made
    works = [work(lambda text=text: door(text)) for text in texts]  # type: ignore[misc] # of a lambda
    for text, cost in zip(texts, works, strict=True):
        assert cost <= 4_000 + PER_CHARACTER * len(text)
    smaller, larger = works[-2:]
    assert larger <= 2.3 * smaller + 4_000


@pytest.mark.parametrize("door", [answer, answer_by_socketio])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_answer_repeats_more_than_a_part_of_the_frame(shape: str, door: Callable[[str], bytes]) -> None:
    assert len(door(SHAPES[shape](10_000))) <= LARGEST


def _paths(value: object, path: str) -> list[str]:
    if isinstance(value, dict):
        found = []
        for key, item in value.items():
            found += _paths(key, path) + _paths(item, f"{path}.{key}")
        return found
    if isinstance(value, list):
        return [place for index, item in enumerate(value) for place in _paths(item, f"{path}[{index}]")]
    return [path] if isinstance(value, str) and any(char in value for char in "\0\ud800\udfff") else []


TEXTS = st.text(alphabet=["a", "b", "\0", "\ud800", "\udfff", "é"], max_size=3)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_the_first_unfit_part_is_named_by_its_path(value: object) -> None:
    expected = _paths(value, "$")
    try:
        check_strings(value, "$")
    except OnRecordError as error:
        assert str(error) == shortened(f"NUL and lone surrogates cannot be stored - at '{expected[0]}'")
    else:
        assert expected == []


@given(st.text())
def test_a_sentence_is_shown_whole_or_without_its_middle(sentence: str) -> None:
    assert shortened(sentence) == sentence or len(shortened(sentence)) <= MOST_SHOWN
    long = sentence + "-" * MOST_SHOWN + sentence
    assert len(shortened(long)) <= MOST_SHOWN
    assert shortened(long)[:20] == long[:20]
    assert shortened(long)[-20:] == long[-20:]


def test_a_key_that_came_twice_is_named_by_its_beginning() -> None:
    text = json.dumps({"k" * 5_000: 1})[:-1] + f',"{"k" * 5_000}":2}}'
    value = parse_json(text)
    assert isinstance(value, Duplicate)
    with pytest.raises(OnRecordError) as refused:
        check_strings(value, "$")
    assert str(refused.value) == f"The key {'k' * 64}... came twice - at '$'"
