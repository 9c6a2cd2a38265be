"""Offsets: every cursor of a connection, in the last argument of each event."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.protocol.commands import MAX_SEQ, ROOM_ID
from service.protocol.socketio import recovery
from service.protocol.socketio.recovery import Recovery

PACKET = b'42["message:new",{"roomId":"general","seq":58}]'
CURSORS = st.dictionaries(st.from_regex(ROOM_ID), st.integers(0, MAX_SEQ), max_size=5)


@given(CURSORS)
def test_an_offset_comes_back_as_it_was_given_out(cursors: dict[str, int]) -> None:
    _, _, offset = json.loads(recovery.with_offset(PACKET, "epoch", cursors)[2:])
    assert recovery.requested({"pid": "p", "offset": offset}) == Recovery("p", "epoch", cursors)


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"pid": "p"},
        {"offset": "e general:1"},
        {"pid": 1, "offset": "e general:1"},
        {"pid": "p", "offset": 1},
        {"pid": "a b", "offset": "e"},
        {"pid": "p" * 65, "offset": "e"},
        {"pid": "p", "offset": ""},
        {"pid": "p", "offset": "e general"},
        {"pid": "p", "offset": "e General:1"},
        {"pid": "p", "offset": "e general:-1"},
        {"pid": "p", "offset": "e general:1 "},
        {"pid": "p", "offset": "e general:12345678901234567"},
        {"pid": "p", "offset": "e " + "general:1 " * 2000},
    ],
)
def test_what_was_never_given_out_recovers_nothing(auth: dict[str, Any]) -> None:
    assert recovery.requested(auth) is None


def test_only_who_says_so_wishes_for_offsets() -> None:
    assert recovery.is_enabled({"recovery": True})
    auths: list[dict[str, Any]] = [{}, {"recovery": 1}, {"recovery": "true"}, {"pid": "p"}]
    assert not any(map(recovery.is_enabled, auths))


def test_an_event_has_a_place_where_it_is_in_a_room_s_order() -> None:
    assert recovery.room_and_seq(PACKET) == ("general", 58)
    assert recovery.room_and_seq(b'42["message:read",{"roomId":"general","messageId":3}]') is None
    assert recovery.room_and_seq(b'42["presence:changed",{"userId":"alice"}]') is None
