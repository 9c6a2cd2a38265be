"""Checks frames against the AsyncAPI document.

Invariant: the document is read strictly. Clients have to ignore fields that they do not know, but a field that the
server sends and the document does not have is a fault of one of the two.
"""

import json
from functools import cache
from typing import Any

import jsonschema

from service.protocol.commands import COMMANDS
from service.protocol.contract import asyncapi

Frame = dict[str, Any]


@cache
def document() -> dict[str, Any]:
    """Return the document as it is printed."""
    found: dict[str, Any] = json.loads(json.dumps(asyncapi.document("1")))
    return found


def faults(frame: Frame, command: str | None = None) -> list[str]:
    """Return the faults of a frame of the server; `command` is the type of the command that an ack answers."""
    kind = frame["type"]
    if kind == "ack":
        return problems(f"ack.{_dotted(command)}", frame) if command in COMMANDS else []
    key = "error" if kind == "error" else f"event.{_dotted(kind)}"
    return problems(key, frame) if key in document()["components"]["messages"] else [f"{kind} is not there"]


def problems(key: str, payload: object) -> list[str]:
    """Return the faults of the payload of a message, which is named by its key among the components."""
    return [
        f"{key}: {error.message} - at {error.json_path}" for error in _validator(key).iter_errors(payload)
    ]


@cache
def _validator(key: str) -> jsonschema.Draft7Validator:
    components = _strict(document()["components"])
    schema = {"allOf": [components["messages"][key]["payload"]], "components": components}
    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        stricter.setdefault("additionalProperties", False)
    return stricter


def _dotted(name: str | None) -> str:
    return (name or "").replace(":", ".")
