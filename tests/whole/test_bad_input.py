"""Bad input: a clear error for the sender, nothing on the record, and nobody else disturbed, on whichever node."""

import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from service.embedded import Servers
from service.protocol.commands import COMMANDS, RoomFrame
from tests.databases import Database
from tests.whole.client import client
from tests.whole.cluster import two_nodes
from tests.whole.processes import Process

SEND: dict[str, Any] = {"type": "message:send", "ref": "r", "roomId": "general", "content": "x"}
READ: dict[str, Any] = {"type": "message:read", "ref": "r", "roomId": "general"}
OWN, FOREIGN, JOINED = 4, 5, 2
"""In both rooms 4 is a message; 5 is one in the other room only; 2 is a join."""


def said(frame: dict[str, Any], **fields: Any) -> str:
    return json.dumps({**frame, **fields})


BAD: dict[str, tuple[str, str]] = {
    "a type that is a number": (said(SEND, type=5), "unknown_type"),
    "a type that is a list": (said(SEND, type=[]), "unknown_type"),
    "no type": ('{"ref":"r"}', "unknown_type"),
    "a second connect": ('{"type":"connect","ref":"r","protocol":1}', "unknown_type"),
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


async def test_bad_input_gets_a_clear_error_stores_nothing_and_disturbs_nobody(
    nodes: tuple[Process, Process], database: Database
) -> None:
    one, other = nodes
    async with client(one.url, "alice") as alice, client(other.url, "carol") as carol:
        for owner, room in ((alice, "general"), (carol, "other")):
            await owner.say(
                "room:create", roomId=room, name="Room", members=["bob"] if owner is alice else ["dave"]
            )
            await owner.post(room, "the first")
        await carol.post("other", "the second")
        for node in nodes:
            async with client(node.url, "bob", {"general": None}) as bob:
                stored, heard = record(database), len(alice.heard)
                for what, (text, code) in BAD.items():
                    await bob.socket.send(text)
                    await bob.until(lambda: bob.events("error") or bob.events("ack"))
                    (error,) = (*bob.events("error"), *bob.events("ack"))
                    assert error.get("code") == code, (what, error)
                    assert error["retryable"] is False, what
                    assert error["message"].endswith((".", "'", "`")) or "$" in error["message"], error[
                        "message"
                    ]
                    bob.heard.remove(error)
                assert record(database) == stored
                # That bob is there is all that anybody has heard of him.
                assert {event["type"] for event in alice.heard[heard:]} <= {"presence:changed"}
                await bob.say("room:list")  # the connection lives on
            for frame in CLOSING.values():
                async with client(node.url, "bob") as bob:
                    await bob.socket.send(frame)
                    assert await bob.closed() == 4501
        ack = await alice.post("general", "still here")
        await alice.until(lambda: alice.events("message:new", seq=ack["seq"]))
        assert ack["seq"] == FOREIGN


async def test_every_command_refuses_an_unknown_field_a_wrong_type_and_a_room_that_is_none(
    nodes: tuple[Process, Process], database: Database
) -> None:
    """By the table of commands, so that a new one cannot be forgotten."""
    async with client(nodes[0].url, "alice") as alice:
        await alice.join("general")
        stored = record(database)
        for kind, command in COMMANDS.items():
            wrong: list[dict[str, Any]] = [
                {"surprise": 1},
                *({name: {"no": "value"}} for name in names_of(command)),
            ]
            wrong += [{"roomId": "No Room!"}] if issubclass(command, RoomFrame) else []
            for fields in wrong:
                await alice.socket.send(json.dumps({"type": kind, "ref": "r", **fields}))
                await alice.until(lambda: alice.events("error") or alice.events("ack", ref="r"))
                (error,) = (*alice.events("error"), *alice.events("ack", ref="r"))
                assert error.get("code") == "malformed", (kind, fields, error)
                alice.heard.remove(error)
        assert record(database) == stored


def names_of(command: type) -> list[str]:
    return [name for name in command.__struct_encode_fields__ if name not in ("type", "ref")]  # type: ignore[attr-defined] # a struct


def record(database: Database) -> list[Any]:
    """Return every event of rooms, readers and people."""
    with psycopg.connect(database.owner_url) as connection:
        return connection.execute(
            "SELECT stream, originator_version, topic FROM stored_events WHERE stream NOT LIKE 'session:%' "
            "ORDER BY notification_id"
        ).fetchall()
