"""Bad input: a clear error for the sender, nothing on the record, no effect on others, on each node and endpoint.

Over HTTP: `test_bad_requests`.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.embedded import Servers
from service.protocol.commands import COMMANDS, Frame, MessageFrame, RoomFrame
from tests.support.chat.actions import FIELDS
from tests.support.chat.bystander import bobs, record, said
from tests.support.clients.native import Client, Refused, client
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database

SEND: dict[str, Any] = {"type": "message:send", "ref": "r", "roomId": "general", "content": "x"}
READ: dict[str, Any] = {"type": "message:read", "ref": "r", "roomId": "general"}
OWN, FOREIGN, JOINED = 4, 5, 2
"""In both rooms 4 is a message; 5 is one in the other room only; 2 is a join."""


BAD_TYPE = {
    "a type that is a number": (said(SEND, type=5), "unknown_type"),
    "a type that is a list": (said(SEND, type=[]), "unknown_type"),
    "no type": ('{"ref":"r"}', "unknown_type"),
    "a second connect": ('{"type":"connect","ref":"r","protocol":1}', "unknown_type"),
}
"""What only the native door can be sent: an event of Socket.IO has a name, and its own are not for use."""
BAD: dict[str, tuple[str, str]] = {
    "a type that is none": (said(SEND, type="message:sent"), "unknown_type"),
    "text that is a number": (said(SEND, content=5), "malformed"),
    "text that is an object": (said(SEND, content={"a": 1}), "malformed"),
    "a room that is null": (said(SEND, roomId=None), "malformed"),
    "a number as text": (said(READ, messageId="4"), "malformed"),
    "a fraction": (said(READ, messageId=4.5), "malformed"),
    "a boolean for a number": (said(READ, messageId=True), "malformed"),
    "an unknown field": (said(SEND, surprise=1), "malformed"),
    "a field of another command": (said(SEND, messageId=4), "malformed"),
    "a key twice": ('{"type":"message:send","ref":"r","roomId":"general","content":"x","content":"y"}', "malformed"),
    "a key twice, the same": ('{"type":"room:leave","ref":"r","roomId":"general","roomId":"general"}', "malformed"),
    "NUL": (said(SEND, content="a\0b"), "malformed"),
    "NUL in a mention": (said(SEND, mentions=["a\0b"]), "malformed"),
    "a lone surrogate": (said(SEND, content="a\ud800b"), "malformed"),
    "an integer of 64 bits": (said(READ, messageId=2**63), "malformed"),
    "an integer of a thousand digits": (said(READ, messageId=0).replace("0", "9" * 1000), "malformed"),
    "a negative marker": (said(READ, messageId=-1), "malformed"),
    "no marker": (said(READ, messageId=0), "malformed"),
    "a marker that is no message": (said(READ, messageId=JOINED), "message_not_found"),
    "a marker in the future": (said(READ, messageId=10_000), "message_not_found"),
    "a marker of another room": (said(READ, messageId=FOREIGN), "message_not_found"),
    "a reply to another room": (said(SEND, replyTo=FOREIGN), "message_not_found"),
    "an edit of what is no message": (said(SEND, type="message:edit", messageId=JOINED), "message_not_found"),
    "an edit of another's message": (said(SEND, type="message:edit", messageId=OWN), "not_allowed"),
    "a reaction that is no emoji": (
        '{"type":"message:react","ref":"r","roomId":"general","messageId":4,"emoji":"<b>"}', "malformed",
    ),
    "a room that is not there": (said(SEND, roomId="nowhere"), "room_not_found"),
    "a room that they are not in": (said(SEND, roomId="other"), "not_a_member"),
    "a room id in capitals": (said(SEND, roomId="General"), "malformed"),
    "a room id with a path": (said(SEND, roomId="../general"), "malformed"),
    "a time without an offset": (
        '{"type":"room:ban","ref":"r","roomId":"general","userId":"bob","until":"2099-01-01T00:00:00"}', "malformed",
    ),
    "a page of both sides": (
        '{"type":"message:history","ref":"r","roomId":"general","before":4,"after":1}', "malformed",
    ),
    "a page of nothing": ('{"type":"message:history","ref":"r","roomId":"general","limit":0}', "malformed"),
    "a status that is none": ('{"type":"presence:set","ref":"r","status":"busy"}', "malformed"),
    "a ref that is a number": ('{"type":"room:list","ref":7}', "malformed"),
    "a ref that is empty": ('{"type":"room:list","ref":""}', "malformed"),
}  # fmt: skip
"""What is sent, and the code of its answer."""

CLOSING_EVENTS: dict[str, str | bytes] = {
    "no JSON": "421hello",
    "half an event": '421["room:list",{"ref":"r"',
    "an object": '421{"name":"room:list"}',
    "no name": '421[[],{"ref":"r"}]',
    "a name of the library's own": '421["connect",{"protocol":1}]',
    "NaN": '421["message:read",{"ref":"r","roomId":"general","messageId":NaN}]',
    "an infinity": '421["message:read",{"ref":"r","roomId":"general","messageId":-Infinity}]',
    "33 levels": '421["message:send",' + '{"a":' * 33 + "1" + "}" * 33 + "]",
    "100,000 levels": "421" + "[" * 100_000,
    "bytes": b"\x00\x01",
}
"""The same at the Socket.IO door."""

CLOSING: dict[str, str | bytes] = {
    "no JSON": "hello",
    "half a frame": '{"type":"room:list"',
    "a list": "[]",
    "NaN": '{"type":"message:read","ref":"r","roomId":"general","messageId":NaN}',
    "an infinity": '{"type":"message:read","ref":"r","roomId":"general","messageId":-Infinity}',
    "33 levels": '{"a":' * 33 + "1" + "}" * 33,
    "100,000 levels": "[" * 100_000,
    "bytes": b"\x00\x01",
}
"""What cannot be answered, so that the connection is closed with 4501."""


@pytest.fixture
async def nodes(database: Database, servers: Servers) -> AsyncIterator[tuple[Process, Process]]:
    # What bad frames cost is no matter of this test.
    async with two_nodes(database, servers, ONRECORD_RATE_BURST="0") as both:
        yield both


@pytest.mark.parametrize("door", ["native", "socketio"])
async def test_bad_input_gets_a_clear_error_stores_nothing_and_disturbs_nobody(
    nodes: tuple[Process, Process], database: Database, door: str
) -> None:
    one, other = nodes
    native = door == "native"
    async with client(one.url, "alice") as alice, client(other.url, "carol") as carol:
        for owner, room in ((alice, "general"), (carol, "other")):
            await owner.say(
                "room:create", roomId=room, name="Room", members=["bob"] if owner is alice else ["dave"]
            )
            await owner.post(room, "the first")
        await carol.post("other", "the second")
        await alice.until(lambda: alice.events("message:new"))
        stored = record(database)
        for node in nodes:
            async with bobs(node, door) as bob:
                heard = len(alice.heard)
                for what, (text, code) in {**BAD, **(BAD_TYPE if native else {})}.items():
                    error = await bob.refusal(text)
                    assert error.get("code") == code, (what, error)
                    assert error["retryable"] is False, what
                    words = error["message"]
                    assert words.endswith((".", "?", "'", "`")) or "$" in words, words
                assert record(database) == stored
                # Bob's presence is all that others have received of him.
                assert {event["type"] for event in alice.heard[heard:]} <= {"presence:changed"}
                assert await bob.lives()
            for frame in (CLOSING if native else CLOSING_EVENTS).values():
                async with bobs(node, door) as bob:
                    assert await bob.closed_by(frame) == 4501
        assert record(database) == stored
        ack = await alice.post("general", "still here")
        await alice.until(lambda: alice.events("message:new", seq=ack["seq"]))
        assert ack["seq"] == FOREIGN


@pytest.mark.parametrize("door", ["native", "socketio"])
async def test_every_command_refuses_what_its_fields_cannot_be(
    nodes: tuple[Process, Process], database: Database, door: str
) -> None:
    """By the table of commands, so that a new one cannot be forgotten."""
    async with client(nodes[0].url, "alice") as alice:
        await alice.say("room:create", roomId="general", name="Room", members=["bob"])
        await alice.post("general", "the first")
    async with bobs(nodes[1], door) as bob:
        stored = record(database)
        for kind, command in COMMANDS.items():
            for what, text in ill_formed(kind, command).items():
                error = await bob.refusal(text)
                assert error.get("code") == "malformed", (kind, what, text[:200], error)
        assert record(database) == stored


def ill_formed(kind: str, command: type[Frame]) -> dict[str, str]:
    """Return texts of a command, each with one field that it cannot have."""
    good = {"type": kind, "ref": "r", **given(kind, command)}
    values: dict[str, Any] = {
        "an object": {"no": "value"},
        "NUL": "a\0b",
        "a lone surrogate": "a\ud800b",
        "a fraction": 4.5,
    }
    values |= {
        "an integer of 64 bits": 2**64,
        "a negative number": -1,
        "a boolean": True,
        "a list of lists": [[]],
    }
    found = {
        f"{name}: {what}": said(good, **{name: value})
        for name in names_of(command)
        for what, value in values.items()
    }
    found["an unknown field"] = said(good, surprise=1)
    found["a key twice"] = said(good)[:-1] + ',"ref":"r"}'
    found["a deep unknown field"] = said(good)[:-1] + ',"surprise":' + "[" * 20 + "]" * 20 + "}"
    found["a ref of another form"] = said(good, ref="no ref!")
    if issubclass(command, RoomFrame):
        found["a room id that is none"] = said(good, roomId="No Room!")
    return found


async def test_commands_refuse_rooms_and_messages_of_another_place(
    nodes: tuple[Process, Process], database: Database
) -> None:
    async with client(nodes[0].url, "alice") as alice, client(nodes[1].url, "carol") as carol:
        await alice.say("room:create", roomId="general", name="Room", members=["bob"])
        await alice.post("general", "the first")
        await carol.say("room:create", roomId="other", name="Room", members=["dave"])
        for text in ("the first", "the second"):
            await carol.post("other", text)
        stored = record(database)
        for kind, command in COMMANDS.items():
            if not issubclass(command, RoomFrame) or kind in ("room:join", "typing:stop"):
                continue  # a room may be joined, and opened by joining; one's own typing may always end
            fields = given(kind, command)
            for room, code in (("nowhere", "room_not_found"), ("other", "not_a_member")):
                assert await code_of(alice, kind, {**fields, "roomId": room}) == code, kind
            if issubclass(command, MessageFrame):
                for number in (JOINED, FOREIGN, 10_000):
                    found = await code_of(alice, kind, {**fields, "messageId": number})
                    assert found == "message_not_found", (kind, number)
        assert record(database) == stored


def given(kind: str, command: type[Frame]) -> dict[str, Any]:
    """Return fields that a command may have, in the room `general`."""
    room = {"roomId": "general"} if issubclass(command, RoomFrame) else {}
    others = {
        "room:create": {"name": "Room"},
        "presence:set": {"status": "away"},
        "user:block": {"userId": "carol"},
        "user:unblock": {"userId": "carol"},
        "auth:refresh": {"token": "t"},
    }
    message = {"messageId": OWN} if issubclass(command, MessageFrame) else {}
    return {**room, **others.get(kind, {}), **FIELDS.get(kind, {}), **message}


async def code_of(one: Client, kind: str, fields: dict[str, Any]) -> str:
    with pytest.raises(Refused) as refused:
        await one.say(kind, **fields)
    return str(refused.value.code)


def names_of(command: type) -> list[str]:
    return [name for name in command.__struct_encode_fields__ if name not in ("type", "ref")]  # type: ignore[attr-defined] # a struct
