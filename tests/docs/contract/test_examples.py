"""The documents that are made from the code and the recording are current, and every example in them is valid."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from service.errors import every_error
from service.gateway.http.documents import asyncapi_yaml, openapi_yaml
from service.protocol.close_codes import Close
from service.protocol.commands import COMMANDS, Connect
from service.protocol.contract import examples, operations, schemas, typescript
from service.protocol.native import decode, decode_connect, parse
from tests.support.contract import faults
from tests.support.docs import stored_events
from tests.support.docs.examples import CLOSED, page
from tests.support.environment import ROOT
from tests.support.http.openapi import DOCUMENT

DOCS = ROOT / "docs" / "reference"

HOW = """has no example. Add a line to a scene in tests/support/story, such as

    await cast.ann.sends("message:pin", roomId="general", messageId=5)    # a command, with its answer
    await cast.bob.receives("message:pinned")                             # an event
    await cast.requests("ann", "GET", "/api/rooms", limit=1)              # a request, with its answer

and run `make docs`, which records the story on a server and writes the documents."""

NOT_JSON = {
    "GET /",
    "GET /healthz",
    "GET /metrics",
    "GET /asyncapi.yaml",
    "GET /openapi.yaml",
    "GET /signin/callback",
}
ELSEWHERE = {"POST /dev/token"}
"""The demo sign-in exists under `onrecord dev` only (tests/integration/ops/test_http.py)."""


@pytest.mark.parametrize(
    ("document", "made"),
    [
        ("asyncapi.yaml", asyncapi_yaml),
        ("openapi.yaml", openapi_yaml),
        ("examples.md", page),
        ("stored-events.md", stored_events.page),
    ],
)
def test_a_document_made_from_the_code_is_current(document: str, made: Callable[[], str]) -> None:
    assert (DOCS / document).read_text() == made(), "run `make docs`"


def test_the_types_of_the_javascript_client_are_current() -> None:
    made = ROOT / "clients" / "js" / "src" / "protocol.ts"
    assert made.read_text() == typescript.module(), "run `make docs`"


@pytest.mark.parametrize("kind", ["connect", *COMMANDS])
def test_every_command_and_its_ack_has_an_example(kind: str) -> None:
    assert examples.commands(kind), f"The command {kind} {HOW}"
    assert kind == "connect" or examples.acks(kind), f"The ack of {kind} {HOW}"
    for value in examples.commands(kind):
        frame = json.dumps(value)
        command = (decode_connect if kind == "connect" else decode)(frame, parse(frame))
        assert type(command) is (Connect if kind == "connect" else COMMANDS[kind])
    for value in examples.acks(kind):
        assert faults(value, kind) == []


@pytest.mark.parametrize("name", [schemas.event_name(event) for event in schemas.events()])
def test_every_event_has_an_example(name: str) -> None:
    assert examples.events(name), f"The event {name} {HOW}"
    for value in examples.events(name):
        assert faults(value) == []


@pytest.mark.parametrize("code", every_error())
def test_every_error_has_an_example(code: str) -> None:
    frames = examples.error_frames(every_error()[code])
    assert frames, f"The error {code} {HOW}"
    assert faults(frames[0]) == []
    assert "{" not in frames[0]["message"]


def test_every_close_code_has_an_example() -> None:
    assert set(CLOSED) == set(Close)
    shown = {close: examples.closed(close) for close in Close}
    assert shown == {close: {"code": close.value, "reason": reason} for close, (_, reason) in CLOSED.items()}


@pytest.mark.parametrize("name", sorted(operations.OPERATIONS.keys() - NOT_JSON - ELSEWHERE))
def test_every_operation_over_http_and_each_parameter_has_an_example(name: str) -> None:
    method, path = name.split(" ")
    assert examples.requests(method, path), f"The operation {name} {HOW}"
    described = DOCUMENT["paths"][path][method.lower()]
    for parameter in described.get("parameters", ()):
        assert "example" in parameter, f"The parameter {parameter['name']} of {name} {HOW}"


def test_the_story_shows_no_more_than_what_was_received() -> None:
    """An example of a command is never shown with fields that exclude each other."""
    shown = [value for kind in COMMANDS for value in examples.commands(kind)]
    assert not [value for value in shown if {"before", "after"} <= value.keys()]
    told = [value for name in map(schemas.event_name, schemas.events()) for value in examples.events(name)]
    assert not [
        value for value in told if value.get("reason") in ("reconnect", "disconnect") and "seq" in value
    ]


def test_no_frame_of_the_page_was_written_by_hand() -> None:
    recorded = {json.dumps(frame, ensure_ascii=False) for frame in _recorded()}
    for frame in re.findall(r"^    \w+ (?:->|<-) (\{.*)$", page(), re.MULTILINE):
        assert frame in recorded


def _recorded() -> list[Any]:
    entries = [entry for scene in examples.recording()["scenes"] for entry in scene["entries"]]
    return [entry[way] for entry in entries for way in ("sends", "receives") if way in entry]
