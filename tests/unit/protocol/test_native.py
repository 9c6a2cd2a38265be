"""The native door's codec: what is a frame, what is a command, and how everything else is answered."""

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import Malformed, RefRequired, Refusal, UnknownType
from service.protocol.commands import (
    COMMANDS,
    AuthRefresh,
    Connect,
    MessageHistory,
    MessageReact,
    MessageRead,
    MessageSend,
    RoomCreate,
    RoomJoin,
    RoomLeave,
    RoomList,
    RoomMembers,
    RoomMute,
)
from service.protocol.native import NotAFrame, decode, decode_connect, encode_error, parse, ref_of


def read(text: str) -> msgspec.Struct:
    return decode(text, parse(text))


def frame(**fields: Any) -> str:
    return json.dumps({"type": "room:list", **fields})


# What is no frame at all


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "{",
        "}",
        "{}{}",
        "{} x",
        '{"type":"room:list"',
        '{"type":"room:list",}',
        "{'type':'room:list'}",
        '{type:"room:list"}',
        '{"type":"a\nb"}',
        '{"type":"\x00"}',
        '{"a":"\\x41"}',
        '{"a":"\\ud8"}',
        '{"a":01}',
        '{"a":+1}',
        '{"a":.5}',
        '{"a":1.}',
        '{"a":0x1}',
        '{"a":tru}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":[NaN]}',
        '{"a":1 /* note */}',
        '\ufeff{"type":"room:list"}',
        "\x00",
    ],
)
def test_what_is_not_json_is_no_frame(text: str) -> None:
    with pytest.raises(NotAFrame, match="not JSON"):
        parse(text)


@pytest.mark.parametrize("text", ["[]", "[{}]", "null", "true", "1", "1.5", '"room:list"'])
def test_json_that_is_no_object_is_no_frame(text: str) -> None:
    with pytest.raises(NotAFrame, match="not an object"):
        parse(text)


def nested(depth: int, shape: str) -> str:
    """Return a frame of that depth, itself counted."""
    value: object = 1
    for level in range(depth - 1):
        in_a_list = shape == "lists" or (shape == "both in turn" and level % 2)
        value = [value] if in_a_list else {"y": value}
    return json.dumps({"x": value})


@pytest.mark.parametrize("shape", ["lists", "objects", "both in turn"])
def test_a_frame_may_be_32_deep_and_no_deeper(shape: str) -> None:
    assert "x" in parse(nested(32, shape))
    for depth in (33, 34, 200):
        with pytest.raises(NotAFrame, match="nested too deep"):
            parse(nested(depth, shape))


def test_depth_is_no_matter_of_how_many_brackets_there_are() -> None:
    parse(json.dumps({"x": [[]] * 500}))
    parse(json.dumps({"x": "[{" * 500}))
    with pytest.raises(NotAFrame, match="nested too deep"):
        parse(json.dumps({"x": [[]] * 500, "y": json.loads("[" * 40 + "]" * 40)}))


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_enormous_nesting_is_refused_and_exhausts_nothing(opening: str, closed: bool) -> None:  # noqa: FBT001
    times = 60_000 // len(opening)
    closing = "]" if opening == "[" else "}" if opening == '{"a":' else "}]"
    with pytest.raises(NotAFrame):
        parse('{"x":' + opening * times + "1" + closing * times * closed + "}" * closed)


# What is a frame and no command


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"type":"room:list","type":"room:list"}', "$"),
        ('{"type":"room:list","ref":"a","ref":"b"}', "$"),
        ('{"type":"room:list","x":{"a":1,"a":2}}', "$.x"),
        ('{"type":"room:list","x":{"a":1,"\\u0061":2}}', "$.x"),
        ('{"type":"room:list","x":[0,{"y":{"a":{},"a":{}}}]}', "$.x[1].y"),
        ('{"type":"room:list","":0,"":0}', "$"),
        ('{"a":1,"a":2}', "$"),
        ('{"type":"nonsense","type":"room:list2"}', "$"),
    ],
)
def test_a_key_that_comes_twice_is_malformed_at_any_depth(text: str, path: str) -> None:
    with pytest.raises(Malformed, match="came twice") as refused:
        read(text)
    assert str(refused.value).endswith(f"at '{path}'")


@pytest.mark.parametrize(
    "escape", [r"\u0000", r"\ud800", r"\udfff", r"\ud83d", r"\udc00\ud800", r"a\ud800b", r"\ude00\ud83d"]
)
@pytest.mark.parametrize(
    ("form", "path"),
    [
        ('{"type":"room:list","ref":"ESC"}', "$.ref"),
        ('{"type":"room:list","x":"ESC"}', "$.x"),
        ('{"type":"room:list","x":[1,"ESC"]}', "$.x[1]"),
        ('{"type":"room:list","x":{"y":"ESC"}}', "$.x.y"),
        ('{"type":"room:list","ESC":1}', "$"),
        ('{"type":"room:list","x":{"ESC":1}}', "$.x"),
        ('{"type":"room:list","ESC":1,"ESC":1}', "$"),
    ],
)
def test_nul_and_lone_surrogates_are_malformed_anywhere(form: str, path: str, escape: str) -> None:
    text = form.replace("ESC", escape)
    with pytest.raises(Malformed, match="NUL and lone surrogates") as refused:
        read(text)
    assert str(refused.value).endswith(f"at '{path}'")
    assert json.loads(encode_error(None, refused.value))["code"] == "malformed"


def test_a_surrogate_pair_is_one_character() -> None:
    command = read(r'{"type":"message:send","roomId":"a","ref":"r","content":"\ud83e\udd8a"}')
    assert isinstance(command, MessageSend)
    assert command.content == "🦊"


@pytest.mark.parametrize(
    "kind",
    [
        "message",
        "ack",
        "error",
        "room:user_joined",
        "x" * 64,
        "é",
    ],
)
def test_an_unknown_type_is_named(kind: str) -> None:
    with pytest.raises(UnknownType) as refused:
        read(json.dumps({"type": kind}, ensure_ascii=False))
    assert str(refused.value) == f"There is no command of type {kind}."


def test_a_second_connect_is_refused_in_words() -> None:
    with pytest.raises(UnknownType) as refused:
        read(json.dumps({"type": "connect", "protocol": 1}))
    assert (
        str(refused.value) == "This connection is connected already; send auth:refresh to give a new token."
    )


@pytest.mark.parametrize(
    "kind", ["Message:send", "message:send ", "message:sned", "message_send", "send:message"]
)
def test_a_misspelt_type_is_named_with_the_one_that_is_meant(kind: str) -> None:
    with pytest.raises(UnknownType) as refused:
        read(json.dumps({"type": kind}))
    meant = "." if kind == "send:message" else "; did you mean message:send?"
    assert str(refused.value) == f"There is no command of type {kind}{meant}"


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("roomid", "'roomid'; did you mean roomId? - at '$.roomid'"),
        ("room_id", "'room_id'; did you mean roomId? - at '$.room_id'"),
        ("colour", "'colour' - at '$.colour'"),
        ("roomid" * 10, f"'{'roomid' * 10}' - at '$.{'roomid' * 10}'"),
    ],
)
def test_an_unknown_field_is_named_with_the_one_that_is_meant(field: str, problem: str) -> None:
    with pytest.raises(Malformed) as refused:
        read(json.dumps({"type": "room:leave", "ref": "r", field: "general"}))
    assert str(refused.value) == f"Object contains unknown field {problem}"


@pytest.mark.parametrize("until", ["2026-12-01", "2026-12-01T10:00:00", 5])
def test_a_wrong_time_is_in_words(until: object) -> None:
    given = {"type": "room:mute", "ref": "r", "roomId": "general", "userId": "bob", "until": until}
    with pytest.raises(Malformed) as refused:
        read(json.dumps(given))
    what = f"'{until}'" if isinstance(until, str) else "This"
    words = "is not a time: give a time with its offset, such as 2026-12-01T10:00:00Z - at '$.until'"
    assert str(refused.value) == f"{what} {words}"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("{}", "No type"),
        ('{"type":""}', "''"),
        ('{"type":null}', "null"),
        ('{"type":1}', "1"),
        ('{"type":["room:list"]}', "An array"),
        ('{"type":{"room:list":1}}', "An object"),
        ('{"type":{"a":1,"a":2}}', "An object"),
        ('{"type":"' + "x" * 65 + '"}', f"'{'x' * 60}...'"),
        (r'{"type":"\ud800"}', r"'\ud800'"),
        (r'{"type":"a\u0000b"}', r"'a\x00b'"),
        (r'{"type":"\u202etxet"}', r"'\u202etxet'"),
    ],
)
def test_a_type_that_is_no_name_is_refused_with_an_example(text: str, sent: str) -> None:
    with pytest.raises(UnknownType) as refused:
        read(text)
    assert json.loads(encode_error("r", refused.value)) == {
        "type": "error",
        "ref": "r",
        "code": "unknown_type",
        "message": f"{sent} is not the name of a command: give one, such as message:send - at '$.type'",
        "retryable": False,
    }


MINIMAL: dict[str, dict[str, Any]] = {
    "room:create": {"name": "General"},
    "room:join": {"roomId": "general"},
    "room:leave": {"roomId": "general"},
    "room:update": {"roomId": "general"},
    "room:archive": {"roomId": "general"},
    "room:reopen": {"roomId": "general"},
    "room:invite": {"roomId": "general", "userId": "bob"},
    "room:kick": {"roomId": "general", "userId": "bob"},
    "room:ban": {"roomId": "general", "userId": "bob"},
    "room:unban": {"roomId": "general", "userId": "bob"},
    "room:mute": {"roomId": "general", "userId": "bob"},
    "room:unmute": {"roomId": "general", "userId": "bob"},
    "room:role": {"roomId": "general", "userId": "bob", "role": "moderator"},
    "room:list": {},
    "room:directory": {},
    "room:members": {"roomId": "general"},
    "message:send": {"roomId": "general", "content": "hello"},
    "message:edit": {"roomId": "general", "messageId": 3, "content": "hello"},
    "message:delete": {"roomId": "general", "messageId": 3},
    "message:react": {"roomId": "general", "messageId": 3, "emoji": "👍"},
    "message:unreact": {"roomId": "general", "messageId": 3, "emoji": "👍"},
    "message:pin": {"roomId": "general", "messageId": 3},
    "message:unpin": {"roomId": "general", "messageId": 3},
    "message:report": {"roomId": "general", "messageId": 3, "reason": "rude"},
    "report:list": {"roomId": "general"},
    "report:resolve": {
        "roomId": "general",
        "reportId": "6fb4c1d2-9a3e-5b57-8c41-2d7f90e6a1b3",
        "outcome": "warned",
    },
    "message:history": {"roomId": "general"},
    "message:read": {"roomId": "general", "messageId": 1},
    "message:unread": {"roomId": "general", "messageId": 1},
    "message:pins": {"roomId": "general"},
    "typing:start": {"roomId": "general"},
    "typing:stop": {"roomId": "general"},
    "presence:set": {"status": "away"},
    "user:block": {"userId": "bob"},
    "user:unblock": {"userId": "bob"},
    "user:blocks": {},
    "user:find": {"query": "ann"},
    "ping": {},
    "auth:refresh": {"token": "t"},
}
UNRECORDED = {
    *("room:list", "report:list", "room:members", "message:history", "message:pins", "user:blocks"),
    *("user:find", "typing:start", "typing:stop", "presence:set", "ping", "auth:refresh", "room:directory"),
}
RECORDED = set(MINIMAL) - UNRECORDED


NO_EMOJI = [
    "", " ", "a b", "\n", "\t", "\x07", "\x7f", "\x85", "x" * 33, "<b>", '"', "'", "&", 5, None,
    "ab", "+1", "1", "👍👍", "👍a", "☺\ufe0e", "\U0001f3fb", ":", "::", ":A:", ":a b:", f":{'x' * 33}:",
    "\u200d", "\ufe0f", "\u200d\ufe0f", "\u200b", "\u202e👍", "\u2028", "\u3000", "\ufeff", "👍\n",
]  # fmt: skip
"""Text, several emoji, parts of them, nothing to see, white space, controls, direction marks, markup, too long."""
EMOJI = [
    "👍", "❤️", "👩‍👩‍👧", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "🇩🇪", "1️⃣",
    "☺", ":+1:", ":party_parrot:", f":{'x' * 32}:",
]  # fmt: skip


@pytest.mark.parametrize("emoji", EMOJI)
def test_an_emoji_is_made_of_what_emoji_are_made_of(emoji: str) -> None:
    command = read(
        json.dumps({"type": "message:react", "ref": "r", **MINIMAL["message:react"], "emoji": emoji})
    )
    assert isinstance(command, MessageReact)
    assert command.emoji == emoji


@pytest.mark.parametrize("until", ["2026-11-24T10:00:00Z", "2026-11-24T10:00:00.123456+05:30"])
def test_a_time_has_its_offset_with_it(until: str) -> None:
    command = read(json.dumps({"type": "room:mute", "ref": "r", **MINIMAL["room:mute"], "until": until}))
    assert isinstance(command, RoomMute)
    assert command.until == datetime.fromisoformat(until)


def test_every_command_is_in_the_table() -> None:
    assert set(COMMANDS) == set(MINIMAL)
    assert {kind for kind, schema in COMMANDS.items() if schema.RECORDED} == RECORDED


@pytest.mark.parametrize("kind", sorted(MINIMAL))
def test_a_command_with_what_it_needs_is_read(kind: str) -> None:
    command = read(json.dumps({"type": kind, "ref": "r-1", **MINIMAL[kind]}))
    assert type(command) is COMMANDS[kind]


@pytest.mark.parametrize("kind", sorted(MINIMAL))
def test_a_ref_is_required_of_what_is_recorded_and_of_nothing_else(kind: str) -> None:
    for ref in ({}, {"ref": None}):
        text = json.dumps({"type": kind, **MINIMAL[kind], **ref})
        if kind in RECORDED:
            with pytest.raises(RefRequired):
                read(text)
        else:
            assert isinstance(read(text), COMMANDS[kind])


@pytest.mark.parametrize("kind", sorted(MINIMAL))
def test_an_unknown_field_is_malformed_and_named(kind: str) -> None:
    for name in ("colour", "room_id", "Ref"):
        with pytest.raises(Malformed, match=f"unknown field '{name}'"):
            read(json.dumps({"type": kind, "ref": "r", **MINIMAL[kind], name: 1}))


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind in sorted(MINIMAL) for field in MINIMAL[kind]]
)
def test_a_missing_field_is_malformed_and_named(kind: str, field: str) -> None:
    fields = {name: value for name, value in MINIMAL[kind].items() if name != field}
    with pytest.raises(Malformed, match=f"missing required field '{field}'"):
        read(json.dumps({"type": kind, "ref": "r", **fields}))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"type": "room:list", "ref": 5}, "$.ref"),
        ({"type": "room:list", "ref": ""}, "$.ref"),
        ({"type": "room:list", "ref": "a b"}, "$.ref"),
        ({"type": "room:list", "ref": "a\n"}, "$.ref"),
        ({"type": "room:list", "ref": "é"}, "$.ref"),
        ({"type": "room:list", "ref": "x" * 65}, "$.ref"),
        ({"type": "room:join", "roomId": None}, "$.roomId"),
        ({"type": "room:join", "roomId": ""}, "$.roomId"),
        ({"type": "room:join", "roomId": "General"}, "$.roomId"),
        ({"type": "room:join", "roomId": "a:b"}, "$.roomId"),
        ({"type": "room:join", "roomId": ".a"}, "$.roomId"),
        ({"type": "room:join", "roomId": "a\n"}, "$.roomId"),
        ({"type": "room:join", "roomId": "a" * 65}, "$.roomId"),
        ({"type": "room:join", "roomId": ["a"]}, "$.roomId"),
        ({"type": "room:join", "roomId": "a", "after": -1}, "$.after"),
        ({"type": "room:join", "roomId": "a", "after": 2**53}, "$.after"),
        ({"type": "room:join", "roomId": "a", "after": "1"}, "$.after"),
        ({"type": "room:join", "roomId": "a", "after": True}, "$.after"),
        ({"type": "room:join", "roomId": "a", "after": 1.0}, "$.after"),
        ({"type": "room:join", "roomId": "a", "after": 10**30}, "$.after"),
        ({"type": "room:create", "name": ""}, "$.name"),
        ({"type": "room:create", "name": "x" * 201}, "$.name"),
        ({"type": "room:create", "name": "x", "visibility": "secret"}, "$.visibility"),
        ({"type": "room:create", "name": "x", "members": "bob"}, "$.members"),
        ({"type": "room:create", "name": "x", "members": ["bob", 5]}, "$.members[1]"),
        ({"type": "room:create", "name": "x", "members": ["bob", "a b"]}, "$.members[1]"),
        ({"type": "room:create", "name": "x", "members": ["a" * 256]}, "$.members[0]"),
        ({"type": "room:create", "name": "x", "members": ["bob"] * 101}, "$.members"),
        ({"type": "message:send", "roomId": "a", "content": None}, "$.content"),
        ({"type": "message:send", "roomId": "a", "content": ["x"]}, "$.content"),
        ({"type": "message:send", "roomId": "a", "content": "x", "replyTo": 0}, "$.replyTo"),
        ({"type": "message:send", "roomId": "a", "content": "x", "mentions": {}}, "$.mentions"),
        ({"type": "message:send", "roomId": "a", "content": "x", "mentions": ["b"] * 101}, "$.mentions"),
        ({"type": "message:history", "roomId": "a", "limit": 0}, "$.limit"),
        ({"type": "message:history", "roomId": "a", "limit": 201}, "$.limit"),
        ({"type": "message:history", "roomId": "a", "before": 0}, "$.before"),
        ({"type": "message:read", "roomId": "a", "messageId": 0}, "$.messageId"),
        ({"type": "message:read", "roomId": "a", "messageId": 2**64}, "$.messageId"),
        ({"type": "message:read", "roomId": "a", "messageId": -(2**64)}, "$.messageId"),
        ({"type": "auth:refresh", "token": 5}, "$.token"),
        ({"type": "room:update", "roomId": "a", "name": ""}, "$.name"),
        ({"type": "room:update", "roomId": "a", "topic": "x" * 1001}, "$.topic"),
        ({"type": "room:invite", "roomId": "a", "userId": "a b"}, "$.userId"),
        ({"type": "room:kick", "roomId": "a", "userId": "b", "reason": ""}, "$.reason"),
        ({"type": "room:kick", "roomId": "a", "userId": "b", "reason": "x" * 501}, "$.reason"),
        ({"type": "room:role", "roomId": "a", "userId": "b", "role": "king"}, "$.role"),
        *(
            ({"type": "room:ban", "roomId": "a", "userId": "b", "until": until}, "$.until")
            for until in (
                "tomorrow",
                "2026-11-24T10:00:00",
                "2026-13-01T00:00:00Z",
                "2026-11-24",
                1,
                ["x"],
                "",
            )
        ),
        *(
            ({"type": "message:react", "roomId": "a", "messageId": 3, "emoji": emoji}, "$.emoji")
            for emoji in NO_EMOJI
        ),
        ({"type": "message:edit", "roomId": "a", "messageId": 3, "content": 5}, "$.content"),
        ({"type": "message:pin", "roomId": "a", "messageId": "3"}, "$.messageId"),
        ({"type": "message:pin", "roomId": "a", "messageId": 3.5}, "$.messageId"),
    ],
)
def test_a_wrong_value_is_malformed_and_its_path_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Malformed) as refused:
        read(json.dumps({"ref": "r", **fields}))
    assert str(refused.value).endswith(f"at '{path}'")


@pytest.mark.parametrize("digits", [20, 21, 400, 4300, 4301, 100_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_huge_integer_is_a_wrong_value_of_a_frame_that_can_be_answered(digits: int, sign: str) -> None:
    text = f'{{"type":"message:read","roomId":"a","ref":"r","messageId":{sign}{"9" * digits}}}'
    with pytest.raises(Malformed, match=r"\$\.messageId"):
        read(text)
    assert ref_of(parse(text)) == "r"


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e2", "5.0", "0.1"])
def test_a_number_with_a_fraction_or_an_exponent_is_no_integer(number: str) -> None:
    with pytest.raises(Malformed, match=r"\$\.limit"):
        read(f'{{"type":"message:history","roomId":"a","limit":{number}}}')


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"type": "room:list"}, RoomList(type="room:list")),
        (
            {
                "type": "room:create",
                "ref": "r",
                "name": "x" * 200,
                "roomId": "a.b_c-1",
                "members": ["A@b|c-d.e_F", "https://idp.example/1", "=<{}%2F"],
            },
            RoomCreate(
                type="room:create",
                ref="r",
                name="x" * 200,
                room_id="a.b_c-1",
                members=("A@b|c-d.e_F", "https://idp.example/1", "=<{}%2F"),
            ),
        ),
        (
            {"type": "room:create", "ref": "r", "name": "🦊" * 200},
            RoomCreate(type="room:create", ref="r", name="🦊" * 200),
        ),
        (
            {"type": "room:join", "ref": "x" * 64, "roomId": "a" * 64, "after": 2**53 - 1},
            RoomJoin(type="room:join", ref="x" * 64, room_id="a" * 64, after=2**53 - 1),
        ),
        (
            {"type": "room:leave", "ref": "A1._:-", "roomId": "0"},
            RoomLeave(type="room:leave", ref="A1._:-", room_id="0"),
        ),
        (
            {"type": "room:members", "roomId": "a", "after": "bob", "limit": 200},
            RoomMembers(type="room:members", room_id="a", after="bob", limit=200),
        ),
        (
            {
                "type": "message:send",
                "ref": "r",
                "roomId": "a",
                "content": "",
                "replyTo": 1,
                "mentions": ["b", "b"],
            },
            MessageSend(
                type="message:send", ref="r", room_id="a", content="", reply_to=1, mentions=("b", "b")
            ),
        ),
        (
            {"type": "message:history", "roomId": "a", "before": 9, "after": 0},
            MessageHistory(type="message:history", room_id="a", before=9, after=0, limit=50),
        ),
        (
            {"type": "message:read", "ref": "r", "roomId": "a", "messageId": 2**53 - 1},
            MessageRead(type="message:read", ref="r", room_id="a", message_id=2**53 - 1),
        ),
        ({"type": "auth:refresh", "token": "t"}, AuthRefresh(type="auth:refresh", token="t")),
    ],
)
def test_a_command_is_read_as_it_was_meant(fields: dict[str, Any], command: msgspec.Struct) -> None:
    assert read(json.dumps(fields)) == command


# Connecting


def connect(**fields: Any) -> Connect:
    text = json.dumps({"type": "connect", "protocol": 1, **fields})
    return decode_connect(text, parse(text))


def test_connect_names_rooms_with_their_cursors() -> None:
    command = connect(token="t", epoch="e", rooms={"general": 41, "new": 0, "now": None})
    assert command.rooms == {"general": 41, "new": 0, "now": None}
    assert connect().rooms == {}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"protocol": "1"}, "$.protocol"),
        ({"protocol": True}, "$.protocol"),
        ({"token": 1}, "$.token"),
        ({"rooms": ["general"]}, "$.rooms"),
        ({"rooms": {"general": -1}}, "$.rooms[...]"),
        ({"rooms": {"general": "41"}}, "$.rooms[...]"),
        ({"rooms": {"general": 2**53}}, "$.rooms[...]"),
    ],
)
def test_a_connect_with_a_wrong_value_is_malformed(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Malformed) as refused:
        connect(**fields)
    assert str(refused.value).endswith(f"at '{path}'")


def test_connect_with_impossible_room_or_unknown_field_is_malformed() -> None:
    for fields in ({"rooms": {"General": 1}}, {"rooms": {"": 1}}, {"password": "x"}):
        with pytest.raises(Malformed):
            connect(**fields)
    with pytest.raises(Malformed, match="missing required field 'protocol'"):
        decode_connect('{"type":"connect"}', parse('{"type":"connect"}'))


# The ref of an answer


@pytest.mark.parametrize(
    ("ref", "shown"),
    [
        ("4f1c", "4f1c"),
        ("A.b_c:d-1", "A.b_c:d-1"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("", None),
        ("a b", None),
        ("a\n", None),
        ("\ud800", None),
        (5, None),
        (None, None),
        (["a"], None),
    ],
)
def test_a_ref_is_echoed_where_it_could_be_one(ref: object, shown: str | None) -> None:
    assert ref_of(parse(json.dumps({"type": "nothing", "ref": ref}))) == shown


# Anything at all

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
kinds = st.sampled_from([*COMMANDS, "connect", "nothing"])
fields = st.dictionaries(
    st.sampled_from(
        ["ref", "roomId", "content", "name", "members", "mentions", "limit", "after", "before", "x", "token"]
    ),
    values | st.sampled_from(["general", "r-1", 1, 50]),
    max_size=6,
)
frames = st.builds(lambda kind, more: json.dumps({"type": kind, **more}), kinds, fields)
mangled = st.builds(
    lambda text, at, cut, put: text[: at % (len(text) + 1)] + put + text[at % (len(text) + 1) + cut :],
    frames,
    st.integers(0, 300),
    st.integers(0, 3),
    st.sampled_from(
        [
            "",
            '"',
            "{",
            "}",
            "[",
            ",",
            ":",
            "\\",
            "\\u0000",
            "\\ud800",
            "1e999",
            "NaN",
            "0",
            " ",
            "\x00",
            "é",
            "🦊",
        ]
    ),
)


@given(st.text(max_size=100) | frames | mangled | values.map(json.dumps))
@example("[" * 100_000)
@example('{"type":' * 50_000)
@example('{"type":"room:list","\\ud800":1,"\\ud800":2}')
@example('{"type":"\\ud800"}')
def test_any_text_is_a_command_or_gets_an_encodable_refusal(text: str) -> None:
    try:
        value = parse(text)
    except NotAFrame:
        return
    for read_frame in (decode, decode_connect):
        try:
            command = read_frame(text, value)
        except Refusal as refusal:
            answer = json.loads(encode_error(ref_of(value), refusal))
            assert answer["type"] == "error"
            assert answer["code"] in ("malformed", "unknown_type", "ref_required")
        else:
            assert isinstance(command, msgspec.Struct)
            msgspec.json.encode(command)
