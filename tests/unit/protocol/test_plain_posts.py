"""The decoder of most messages: it returns what the strict parser returns, or leaves the frame to it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import Refusal
from service.protocol import native
from service.protocol.commands import MessageSend

POST = {"type": "message:send", "ref": "a-1", "roomId": "general", "content": "hello"}

_names = st.sampled_from(["type", "ref", "roomId", "content", "replyTo", "mentions", "room_id", "x", ""])
_values = st.one_of(
    st.sampled_from(
        ["message:send", "message:edit", "a-1", "general", "hello", "", "General", "é \N{WAVING HAND SIGN}"]
    ),
    st.text(max_size=5),
    st.none(),
    st.booleans(),
    st.integers(min_value=-2, max_value=2**64),
    st.floats(),
    st.lists(st.sampled_from(["bob", "carol", "a b", 1]), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@st.composite
def _frames(draw: st.DrawFn) -> str:
    """Return a message with members that are added, repeated, replaced, left out or moved, and characters changed."""
    members: list[tuple[str, Any]] = list(POST.items())
    for _ in range(draw(st.integers(0, 3))):
        members.insert(draw(st.integers(0, len(members))), (draw(_names), draw(_values)))
    if draw(st.booleans()):
        del members[draw(st.integers(0, len(members) - 1))]
    ascii_only, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\n\t", "\u00a0"]))
    written = [[json.dumps(part, ensure_ascii=ascii_only) for part in member] for member in members]
    text = "{" + ",".join(f"{space}{name}:{space}{value}" for name, value in written) + "}"
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(['"', "\\", "{", "}", "[", ",", "\x00", "\x1f", "\ufeff", "1"]))
            + text[at + 1 :]
        )
    return text


@given(_frames())
@example('{"type":"message:send","ref":"a","roomId":"general","content":"a\x01b"}')
@example('{"type":"message:send","ref":"a","roomId":"general","content":"a","content":"b"}')
@example('{"type":"message:send","ref":"a","roomId":"general","content":"a","replyTo":1,"replyTo":2}')
@example('{"type":"message:send","ref":"a","roomId":"general","content":"a","replyTo":1e0}')
@example('{"type":"message:send","ref":"a","roomId":"general","content":"a"}x')
@example('[{"type":"message:send","ref":"a","roomId":"general","content":"a"}]')
@example('["message:send","a","general","a"]')
def test_a_plain_post_is_what_the_strict_parser_returns(text: str) -> None:
    if (post := native.plain_post(text)) is None:
        return
    assert native.decode(text, native.parse(text)) == post


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"replyTo": 7},
        {"mentions": ["bob"]},
        {"mentions": ["bob", "carol"], "replyTo": 1},
        {"content": "\u00fc \N{WAVING HAND SIGN}"},
    ],
)
def test_ordinary_messages_are_plain(more: dict[str, Any]) -> None:
    text = json.dumps({**POST, **more}, ensure_ascii=False)
    assert native.plain_post(text) == native.decode(text, native.parse(text))


@pytest.mark.parametrize("name", ["type", "ref", "roomId", "content"])
def test_a_message_without_a_field_is_not_plain(name: str) -> None:
    text = json.dumps({member: value for member, value in POST.items() if member != name})
    assert native.plain_post(text) is None
    with pytest.raises(Refusal):
        native.decode(text, native.parse(text))


def test_other_commands_are_not_plain() -> None:
    assert native.plain_post('{"type":"message:edit","ref":"a","roomId":"general","content":"a"}') is None
    assert MessageSend.TYPE == "message:send"
