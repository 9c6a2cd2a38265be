"""Every field of every command has a bound: the longest value within it is read, and one beyond is refused."""

from typing import Any

import msgspec
import pytest

from service.errors import Malformed
from service.protocol.commands import COMMANDS, MAX_SEQ, Connect, Frame
from service.protocol.native import decode, decode_connect, parse

REPORT = "0b7c5e9e-3f43-5a3c-8d1e-0123456789ab"
WITHIN: dict[str, list[tuple[Any, Any]]] = {
    "ref": [("r" * 64, "r" * 65)],
    "roomId": [("r" * 64, "r" * 65)],
    "userId": [("u" * 255, "u" * 256)],
    "messageId": [(MAX_SEQ, MAX_SEQ + 1), (1, 0)],
    "replyTo": [(MAX_SEQ, MAX_SEQ + 1), (1, 0)],
    "name": [("n" * 200, "n" * 201), ("n", " ")],
    "topic": [("t" * 1_000, "t" * 1_001)],
    "reason": [("w" * 500, "w" * 501), ("w", "")],
    "emoji": [(f":{'x' * 32}:", f":{'x' * 33}:"), ("\U0001f98a", "")],
    "members": [(["u" * 255] * 100, ["u" * 255] * 101), ([], ["u" * 256])],
    "mentions": [(["u" * 255] * 100, ["u" * 255] * 101), ([], ["u" * 256])],
    "limit": [(200, 201), (1, 0)],
    "query": [("q" * 64, "q" * 65), ("", 5)],
    "before": [(MAX_SEQ, MAX_SEQ + 1), (1, 0)],
    "until": [("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00"), ("0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z")],
    "note": [("w" * 500, "w" * 501), ("w", "")],
    "reportId": [(REPORT, REPORT + "0"), (REPORT, "1")],
    "outcome": [("warned", "praised")],
    "visibility": [("direct", "secret")],
    "role": [("owner", "king")],
    "status": [("away", "offline")],
    "after": [],
    "type": [],
    "content": [("", 5)],
    "token": [("", 5)],
}  # fmt: skip
"""Pairs of values within and beyond the bound. `after` depends on the command; a type is a key of the table of
commands; `service.domain.content.policy` bounds content; a token has the bound of its frame until it is verified."""
AFTER = {
    "room:list": ("r" * 64, "r" * 65),
    "room:directory": ("r" * 64, "r" * 65),
    "room:members": ("u" * 255, "u" * 256),
    "user:blocks": ("u" * 255, "u" * 256),
    "report:list": (REPORT, REPORT + "0"),
    "room:join": (MAX_SEQ, MAX_SEQ + 1),
    "message:history": (MAX_SEQ, MAX_SEQ + 1),
}
REQUIRED = {
    "ref": "r",
    "roomId": "general",
    "userId": "bob",
    "messageId": 1,
    "name": "Name",
    "emoji": "\U0001f98a",
    "content": "hello",
    "role": "member",
    "status": "online",
    "token": "x",
    "reportId": REPORT,
    "outcome": "dismissed",
    "reason": "why",
}


def cases() -> list[Any]:
    found = []
    for command in COMMANDS.values():
        for name in command.__struct_encode_fields__:
            if name == "limit" and command.TYPE in ("report:list", "room:directory"):
                found.append(pytest.param(command, name, 100, 101, id=f"{command.TYPE} limit"))
                continue
            pairs = [AFTER[command.TYPE]] if name == "after" else WITHIN[name]
            found += [pytest.param(command, name, *pair, id=f"{command.TYPE} {name}") for pair in pairs]
    return found


@pytest.mark.parametrize(("command", "name", "within", "beyond"), cases())
def test_every_field_of_every_command_has_a_bound(
    command: type[Frame], name: str, within: object, beyond: object
) -> None:
    def read(value: object) -> Frame:
        fields = {key: REQUIRED[key] for key in command.__struct_encode_fields__ if key in REQUIRED}
        text = msgspec.json.encode({"type": command.TYPE, **fields, name: value}).decode()
        return decode(text, parse(text))

    assert isinstance(read(within), command)
    with pytest.raises(Malformed):
        read(beyond)


def connected(**fields: object) -> Connect:
    text = msgspec.json.encode({"type": "connect", "protocol": 1, **fields}).decode()
    return decode_connect(text, parse(text))


def test_every_field_of_connect_has_a_bound() -> None:
    assert connected(rooms={"r" * 64: MAX_SEQ}).rooms == {"r" * 64: MAX_SEQ}
    for beyond in ({"r" * 65: 0}, {"r": MAX_SEQ + 1}, {"r": -1}):
        with pytest.raises(Malformed):
            connected(rooms=beyond)
