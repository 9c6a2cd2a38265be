"""What makes a command the same command: its fields without the ref, and without those at their default."""

from datetime import UTC, datetime

import pytest

from service.gateway.commands.fingerprint import command_fingerprint
from service.protocol import commands as wire


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (
            wire.MessageSend(type="message:send", ref="one", room_id="general", content="hi"),
            b'{"content":"hi","roomId":"general","type":"message:send"}',
        ),
        (
            wire.MessageSend(type="message:send", ref="two", room_id="general", content="hi", reply_to=3),
            b'{"content":"hi","replyTo":3,"roomId":"general","type":"message:send"}',
        ),
        (
            wire.RoomLeave(type="room:leave", ref="three", room_id="general"),
            b'{"roomId":"general","type":"room:leave"}',
        ),
        (
            wire.RoomBan(
                type="room:ban",
                ref="four",
                room_id="general",
                user_id="bob",
                until=datetime(2026, 11, 26, tzinfo=UTC),
            ),
            b'{"roomId":"general","type":"room:ban","until":"2026-11-26T00:00:00Z","userId":"bob"}',
        ),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_a_command_is_the_same_whatever_its_ref(frame: wire.Frame, words: bytes) -> None:
    assert command_fingerprint(frame) == words
