"""The chat in Socket.IO's words: the same names and payloads as at the native door."""

import json
from typing import Any

import msgspec
import pytest

from service.errors import Malformed, OnRecordError, TooManyRequests, UnknownType
from service.protocol import native
from service.protocol.acks import MessageSendAck
from service.protocol.commands import COMMANDS, MessageSend, RoomList
from service.protocol.contract import examples, schemas
from service.protocol.contract.schemas import event_name, events
from service.protocol.events import MessageNew, Outgoing
from service.protocol.socketio import emits
from service.protocol.socketio.packets import Decoder, Packet

SAID = MessageNew(
    room_id="general", seq=1, message_id=1, user_id="alice", name="Alice", content="hi", at="now"
)


def packet(name: object, *arguments: object) -> Packet:
    found = Decoder(1000).feed("2" + json.dumps([name, *arguments]))
    assert found is not None
    return found.packet()


def body(told: bytes, head: str) -> Any:
    assert told.decode().startswith(head)
    return json.loads(told[len(head) :])


@pytest.mark.parametrize("event", events(), ids=event_name)
def test_an_event_is_its_name_and_the_rest_of_the_native_frame(event: type[Outgoing]) -> None:
    frame = native.encode(native_example(event))
    name, payload = body(emits.event_packet(native_example(event)), "42")
    assert {"type": name, **payload} == json.loads(frame)
    assert "type" not in payload


def native_example(event: type[Outgoing]) -> Outgoing:
    return msgspec.convert(examples.events(schemas.event_name(event))[0], event)


def test_an_ack_says_ok_and_a_refusal_why_not() -> None:
    ack = MessageSendAck(seq=58, at="now", message_id=58)
    assert body(emits.ack_packet("7", ack), "437") == [{"ok": True, "seq": 58, "at": "now", "messageId": 58}]
    error = TooManyRequests(retryAfter=1.5)
    fields = native.error_fields(error)
    assert fields["retryAfter"] == 1.5
    assert body(emits.refusal_packet("0", error), "430") == [{"ok": False, "error": fields}]
    assert body(emits.refusal_packet(None, error), "42") == ["error", fields]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.TYPE)
def test_a_command_is_read_as_at_the_native_door(command: Any) -> None:
    for shown in examples.commands(command.TYPE):
        payload = {name: value for name, value in shown.items() if name != "type"}
        read = emits.decode_command(packet(command.TYPE, payload), lambda: "made")
        text = json.dumps(shown)
        assert read == native.decode(text, native.parse(text))


def test_a_recorded_command_without_a_ref_is_given_one() -> None:
    said = {"roomId": "general", "content": "hi"}
    read = emits.decode_command(packet("message:send", said), lambda: "made")
    assert isinstance(read, MessageSend)
    assert read.ref == "made"
    kept = emits.decode_command(packet("message:send", {**said, "ref": "mine"}), lambda: "made")
    assert kept.ref == "mine"
    assert emits.decode_command(packet("room:list"), lambda: "made") == RoomList(type="room:list")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (packet("no:such"), UnknownType),
        (packet(5, {}), UnknownType),
        (packet("room:list", None), Malformed),
        (packet("room:list", []), Malformed),
        (packet("room:list", {}, {}), Malformed),
        (packet("room:list", {"type": "room:list"}), Malformed),
        (packet("room:list", {"surprise": 1}), Malformed),
        (packet("message:send", {"roomId": "general"}), Malformed),
        (packet("message:send", {"roomId": "general", "content": "a\ud800"}), Malformed),
        (packet("message:send", {"roomId": "general", "content": "a\0"}), Malformed),
        (packet("message:send", {"roomId": "general", "content": "hi", "ref": ""}), Malformed),
    ],
)
def test_what_is_no_command_is_refused(said: Packet, error: type[OnRecordError]) -> None:
    with pytest.raises(error):
        emits.decode_command(said, lambda: "made")


def test_a_key_that_came_twice_is_refused() -> None:
    twice = Decoder(1000).feed('2["message:send",{"roomId":"general","content":"a","content":"b"}]')
    assert twice is not None
    with pytest.raises(Malformed, match="came twice"):
        emits.decode_command(twice.packet(), lambda: "made")


def test_auth_says_what_connect_says() -> None:
    auth = {"token": "t", "rooms": {"general": 41}, "epoch": "e", "recovery": True, "pid": "p", "offset": "o"}
    asked = Decoder(1000).feed("0" + json.dumps(auth))
    assert asked is not None
    connect = emits.decode_auth(asked.packet())
    assert (connect.token, connect.rooms, connect.epoch, connect.protocol) == ("t", {"general": 41}, "e", 1)
    nothing = Decoder(1000).feed("0")
    assert nothing is not None
    assert emits.decode_auth(nothing.packet()).token is None
    wrong = Decoder(1000).feed('0{"token":5}')
    assert wrong is not None
    with pytest.raises(Malformed):
        emits.decode_auth(wrong.packet())
