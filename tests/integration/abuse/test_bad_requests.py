"""Bad input over HTTP: every parameter of every read, and the body of every action, by the tables they are made from.

The client gets a clear refusal, nothing is recorded, and other clients are not affected.
"""

import json
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from service.gateway.http.actions import ACTIONS, Action
from service.gateway.http.endpoint import Read
from service.gateway.http.openapi import EVERY_READ
from service.gateway.http.request import parameter_names
from tests.support.chat.bystander import record
from tests.support.clients.native import Client, client
from tests.support.environment import token
from tests.support.http.openapi import DOCUMENT, promised
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database

NO_TEXT = {
    "NUL": "%00",
    "NUL in the midst": "a%00b",
    "a lone surrogate": "a%ED%A0%80",
    "bytes that are no text": "%FF%FE",
    "white space": "%20%20",
    "an object": "%7B%22a%22%3A%201%7D",
    "five thousand letters": "x" * 5_000,
}
"""Values that no parameter may have."""
SEARCHABLE = ("white space", "an object", "a lone surrogate", "bytes that are no text")
"""Of these, what a search may look for; bytes that are no text are read as U+FFFD."""
NO_NUMBER = {
    **NO_TEXT,
    "nothing": "",
    "words": "many",
    "a negative number": "-1",
    "an integer of 64 bits": str(2**63),
    "an integer of a thousand digits": "9" * 1_000,
    "not a number": "NaN",
    "an infinity": "Infinity",
    "a fraction": "1.5",
    "a boolean": "true",
}
NEEDED = {"roomId": "general", "query": "ann", "userId": "alice", "room": "general", "from": "1"}
"""Values of parameters that have to be there, where another one is tried."""

BODIES = {
    "nothing": "",
    "no JSON": "hello",
    "half an object": '{"reason":"noise"',
    "a list": "[]",
    "a text": '"reason"',
    "NaN": '{"reason":NaN}',
    "a key twice": '{"reason":"a","reason":"b"}',
    "an unknown field": '{"reason":"a","surprise":1}',
    "a number": '{"reason":5}',
    "an integer of a thousand digits": '{"reason":' + "9" * 1_000 + "}",
    "an object for a text": '{"reason":{"a":1}}',
    "NUL": r'{"reason":"a\u0000b"}',
    "a lone surrogate": r'{"reason":"a\ud800b"}',
    "33 levels": '{"reason":' + "[" * 33 + "]" * 33 + "}",
    "8,000 levels": "[" * 8_000,
    "an empty reason": '{"reason":""}',
    "a reason that is too long": json.dumps({"reason": "x" * 501}),
}
"""What no action may come with; `reason` stands for the field of its own."""


@pytest.fixture
async def bystander(node: Process) -> AsyncIterator[Client]:
    """A member of the room, who must not be affected."""
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        await alice.post("general", "hello")
        await alice.until(lambda: alice.events("message:new"))
        yield alice


def asking(read: Read, name: str, value: str) -> str:
    """Return the address of a read in which a parameter has a value, and the others have what they need."""
    needed = [field.encode_name for field in msgspec.structs.fields(read.query) if field.required]
    given = {shown: NEEDED[shown] for shown in needed if shown != "type"} | {name: value}
    after = [f"{shown}={text}" for shown, text in given.items() if f"{{{shown}}}" not in read.path]
    return read.path.format(**given) + ("?" + "&".join(after) if after else "")


def kind_of(read: Read, name: str) -> str:
    """Return what the document says that a parameter is."""
    (found,) = [one for one in DOCUMENT["paths"][read.path]["get"]["parameters"] if one["name"] == name]
    return str(found["schema"]["type"])


@pytest.mark.parametrize("read", EVERY_READ, ids=lambda read: read.path)
async def test_no_parameter_takes_what_it_cannot_have(
    node: Process, database: Database, bystander: Client, read: Read
) -> None:
    headers = {"Authorization": f"Bearer {token('alice', scope='chat auditor admin')}"}
    async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
        stored, heard = record(database), len(bystander.heard)
        for name in (*parameter_names(read.query), "surprise"):
            kind = "string" if name == "surprise" else kind_of(read, name)
            wrong = NO_TEXT if kind == "string" else NO_NUMBER
            for what, value in wrong.items():
                if (kind, value) == ("boolean", "true") or (name == "query" and what in SEARCHABLE):
                    continue
                answer = await http.get(asking(read, name, value))
                problem = promised(answer, read.path)
                assert (problem["code"], problem["parameter"]) == ("malformed", name), what
        assert record(database) == stored
        assert bystander.heard[heard:] == []
    await bystander.say("room:list")


def fits(content: str, kind: type[msgspec.Struct]) -> bool:
    """Return whether a text is a body of an action, such as a number where another action has a text."""
    try:
        msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return content.count(f'"{kind.__struct_encode_fields__[-1]}"') == 1


def may_be_left_out(kind: type[msgspec.Struct]) -> bool:
    """Return whether a body has no field that is required."""
    return all(not field.required for field in msgspec.structs.fields(kind))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.path)
async def test_no_action_takes_a_body_that_it_cannot_have(
    node: Process, database: Database, bystander: Client, action: Action
) -> None:
    *_, own = action.body.__struct_encode_fields__
    headers = {"Authorization": f"Bearer {token('root', scope='chat admin')}"}
    path = action.path.format(
        userId="alice", roomId="general", reportId="00000000-0000-5000-8000-000000000000"
    )
    async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
        stored, heard = record(database), len(bystander.heard)
        for what, text in BODIES.items():
            content = text.replace('"reason"', f'"{own}"')
            if fits(content, action.body) or (not content and may_be_left_out(action.body)):
                continue
            answer = await http.post(path, content=content)
            assert answer.status_code == 400, (what, answer.text)
            assert answer.json()["code"] == "malformed", what
        assert (await http.post(path, content=b'{"%b":"\xff"}' % own.encode())).status_code == 400
        assert (await http.post(path, content="x" * 20_000)).status_code == 413
        assert record(database) == stored
        assert bystander.heard[heard:] == []
    await bystander.say("room:list")
