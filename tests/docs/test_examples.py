"""The documents that are made from the code are what the code makes now, and every example in them is valid."""

import json
import re

import pytest

from service.errors import every_error
from service.gateway.http.documents import asyncapi_yaml, openapi_yaml
from service.protocol.close_codes import Close
from service.protocol.native import decode, decode_connect, parse
from tests.support.contract import faults
from tests.support.docs import stored_events
from tests.support.docs.examples import CLOSED, page
from tests.support.environment import ROOT

DOCS = ROOT / "docs" / "reference"
PAGE = (DOCS / "examples.md").read_text()
FRAMES = re.findall(r"^### `(.+)`$|^    (->|<-) (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(
    ("document", "made"),
    [
        ("asyncapi.yaml", asyncapi_yaml),
        ("openapi.yaml", openapi_yaml),
        ("examples.md", page),
        ("stored-events.md", stored_events.page),
    ],
)
def test_a_document_made_from_the_code_is_current(document: str, made: object) -> None:
    assert callable(made)
    assert (DOCS / document).read_text() == made(), "run `make docs`"


def test_every_example_of_a_frame_is_valid() -> None:
    title = ""
    for heading, way, frame in FRAMES:
        if heading:
            title = heading
        elif way == "->":
            value = parse(frame)
            decode_connect(frame, value) if title == "connect" else decode(frame, value)
        else:
            assert faults(json.loads(frame), title) == [], title


def test_every_error_code_and_every_close_code_has_an_example() -> None:
    shown = [json.loads(frame) for _, way, frame in FRAMES if way == "<-"]
    assert {frame["code"] for frame in shown if frame["type"] == "error"} == set(every_error())
    assert set(CLOSED) == set(Close)
    for close in Close:
        assert f"| {close.value} |" in PAGE
