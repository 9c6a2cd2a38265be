"""The AsyncAPI document is valid, and every frame that is sent matches it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import OnRecordError, Trouble, every_error
from service.protocol.acks import ACKS, Ack, RecordedAck, ack_of
from service.protocol.close_codes import Close
from service.protocol.commands import COMMANDS, Connect, Frame
from service.protocol.contract import asyncapi, schemas
from service.protocol.events import Outgoing
from service.protocol.native import decode, decode_connect, encode, encode_ack, encode_error, parse
from service.protocol.problems import STATUS, status_of
from tests.support.contract import document, faults, problems
from tests.support.protocol.asyncapi import parts
from tests.support.structs import any_of

OFFICIAL = Path(__file__).parent / "asyncapi-3.0.0.json"
"""The schema that the AsyncAPI initiative publishes (npm `@asyncapi/specs` 6.11.1, Apache-2.0), blanks removed."""

MESSAGES = document()["components"]["messages"]
EVENTS = {schemas.event_name(event): event for event in schemas.events()}
one_more = {"surprise": 1}
VERBS = (
    "add|archive|ban|block|change|create|delete|edit|find|invite|join|kick|leave|list|mark|mute|on|pin|refresh|remove|reopen|"
    "report|resolve|send|set|start|stop|unban|unblock|unmute|unpin|update"
)
OPERATION = re.compile(rf"({VERBS})([A-Z][a-z]+)+|connect|ping")


def error_of(error: type[OnRecordError]) -> OnRecordError:
    """Return an error with some data."""
    names = {*re.findall(r"{(\w+)}", error.sentence), *error.shown}
    return error(**{name: 1.5 if name == "retryAfter" else "2099-01-01T00:00:00Z" for name in names})


def sent(frame: bytes) -> dict[str, Any]:
    value = json.loads(frame)
    assert isinstance(value, dict)
    return value


def test_the_document_is_valid_by_the_official_schema() -> None:
    schema = json.loads(OFFICIAL.read_text())
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(document()))
    assert [(error.json_path, error.message) for error in errors] == []


def test_every_schema_in_it_is_a_schema_in_both_dialects() -> None:
    payloads = [message["payload"] for message in MESSAGES.values()]
    for schema in [*document()["components"]["schemas"].values(), *payloads]:
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert all(
            set(part) == {"$ref"} for part in parts(schema) if "$ref" in part
        )  # draft 7 ignores the rest
        assert "\\A" not in json.dumps(schema)


def test_every_reference_leads_somewhere() -> None:
    for part in parts(document()):
        if isinstance(reference := part.get("$ref"), str):
            place: Any = document()
            for step in reference.removeprefix("#/").split("/"):
                place = place[step]


def test_everything_that_travels_is_in_it() -> None:
    commands = ["connect", *COMMANDS]
    assert set(MESSAGES) == {
        *(f"command.{name.replace(':', '.')}" for name in commands),
        *(f"ack.{name.replace(':', '.')}" for name in COMMANDS),
        *(f"event.{name.replace(':', '.')}" for name in EVENTS),
        "error",
    }
    channel = document()["channels"]["native"]
    assert set(channel["messages"]) == set(MESSAGES)
    used = {
        reference["$ref"].rpartition("/")[2]
        for operation in document()["operations"].values()
        for reference in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
    }
    assert used == set(MESSAGES)
    assert {(one["code"], one["comeBack"]) for one in channel["x-close-codes"]} == {
        (close.value, close.come_back) for close in Close
    }
    assert {one["code"]: one["retryable"] for one in channel["x-error-codes"]} == {
        code: error.retryable for code, error in every_error().items()
    }


def test_every_operation_has_a_name_for_generated_clients() -> None:
    kinds: list[type[Frame | Outgoing]] = [Connect, *COMMANDS.values(), *EVENTS.values()]
    names = [asyncapi.operation_name(kind) for kind in kinds]
    assert [*document()["operations"]] == names
    assert len(set(names)) == len(names)
    for name in names:
        assert OPERATION.fullmatch(name), (
            f"{name} is no verb and noun: name it in OPERATIONS of {asyncapi.__file__}"
        )


@pytest.mark.parametrize("key", MESSAGES)
def test_every_example_is_an_example(key: str) -> None:
    for example in MESSAGES[key].get(
        "examples", ()
    ):  # tests/docs/contract/test_examples.py finds those without one
        assert problems(key, example["payload"]) == []
        assert problems(key, {**example["payload"], **one_more}) != []


@pytest.mark.parametrize("command", [Connect, *COMMANDS.values()])
def test_every_example_of_a_command_is_understood(command: type[Frame]) -> None:
    key = f"command.{command.TYPE.replace(':', '.')}"
    for example in MESSAGES[key].get("examples", ()):
        text = json.dumps(example["payload"])
        frame = (decode_connect if command is Connect else decode)(text, parse(text))
        assert type(frame) is command
        assert problems(key, {**example["payload"], "type": "another"}) != []


def test_what_is_recorded_needs_its_ref() -> None:
    for command in COMMANDS.values():
        key = f"command.{command.TYPE.replace(':', '.')}"
        for example in MESSAGES[key].get("examples", ()):
            bare = {name: value for name, value in example["payload"].items() if name != "ref"}
            assert bool(problems(key, bare)) is command.RECORDED
        assert MESSAGES[key]["x-recorded"] is command.RECORDED


def test_every_error_has_an_example_with_what_travels_with_it() -> None:
    shown = {one["name"]: one["payload"] for one in MESSAGES["error"]["examples"]}
    assert set(shown) == set(every_error())
    for code, error in every_error().items():
        assert {"code", "message", "retryable", *error.shown} <= shown[code].keys()
        assert "{" not in shown[code]["message"]


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@given(data=st.data())
def test_every_event_is_sent_as_the_document_says(event: type[Outgoing], data: st.DataObject) -> None:
    frame = sent(encode(data.draw(any_of(event))))
    assert faults(frame) == []
    assert faults({**frame, **one_more}) != []


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@given(data=st.data())
def test_every_ack_is_sent_as_the_document_says(command: type[Frame], data: st.DataObject) -> None:
    frame = sent(encode_ack("r-1", data.draw(any_of(ack_of(command)))))
    assert faults(frame, command.TYPE) == []
    assert faults({**frame, **one_more}, command.TYPE) != []


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@given(data=st.data())
def test_every_command_that_the_document_describes_is_understood(
    command: type[Frame], data: st.DataObject
) -> None:
    drawn = msgspec.structs.replace(data.draw(any_of(command)), type=command.TYPE, ref="r-1")
    text = msgspec.json.encode(drawn).decode()
    assert problems(f"command.{command.TYPE.replace(':', '.')}", json.loads(text)) == []
    assert decode(text, parse(text)) == drawn


@pytest.mark.parametrize("code", every_error())
def test_every_error_is_sent_as_the_document_says(code: str) -> None:
    for ref in ("r-1", None):
        frame = sent(encode_error(ref, error_of(every_error()[code])))
        assert faults(frame) == []
        assert faults({**frame, "retryable": "perhaps"}) != []
        assert faults({**frame, **one_more}) != []


def test_ack_without_own_fields_is_the_recorded_or_the_empty_ack() -> None:
    class Quiet(Frame, frozen=True, kw_only=True):
        TYPE = "quiet:thing"

    class Noted(Frame, frozen=True, kw_only=True):
        TYPE = "noted:thing"
        RECORDED = True

    assert ack_of(Quiet) is Ack
    assert ack_of(Noted) is RecordedAck
    assert set(ACKS) <= set(COMMANDS)


@pytest.mark.parametrize("code", every_error())
def test_every_error_has_a_status(code: str) -> None:
    assert STATUS[code] == status_of(every_error()[code])
    assert (STATUS[code] == 503) is issubclass(every_error()[code], Trouble)
