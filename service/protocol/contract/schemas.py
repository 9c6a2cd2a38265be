"""JSON Schemas of all frames and documents, generated from the structs that check and encode them.

Invariant: no payload is described a second time. This module adds to msgspec's schemas what follows from conventions
of the structs: a pattern in the dialect of JSON Schema, a time's format, a command's name and its `ref`. The schemas
mean the same under draft 7 (AsyncAPI 3.0) and 2020-12 (OpenAPI 3.1).
"""

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from service.errors import OnRecordError
from service.protocol.acks import ack_of
from service.protocol.commands import COMMANDS, REF, Connect, Frame
from service.protocol.events import Outgoing

Schema = dict[str, Any]

TEMPLATE = "#/components/schemas/{name}"
_SHOWN: dict[str, Schema] = {"retryAfter": {"type": "number"}, "notBefore": {"type": "string"}}
"""The schemas of the fields that travel with errors."""
_TIMES = frozenset({"at", "lastSeen", "until"})
"""Fields that hold a time, besides those whose names end in `At`."""


def events(base: type[Outgoing] = Outgoing) -> list[type[Outgoing]]:
    """Return every kind of event, in the order in which they are defined."""
    below = base.__subclasses__()
    return [event for cls in below for event in events(cls)] if below else [base]


def event_name(event: type[Outgoing]) -> str:
    """Return an event's wire name."""
    return str(event.__struct_config__.tag)


def summary(cls: type) -> str:
    """Return a struct's docstring as one line."""
    return " ".join((cls.__doc__ or "").split())


class Catalogue:
    """The schemas of some structs and of all structs that they refer to: `components`, by name.

    A struct is named by its class, and also by its module if two classes have one name.
    """

    def __init__(self, types: Iterable[type]) -> None:
        types = list(dict.fromkeys(types))
        references, found = msgspec.json.schema_components(types, ref_template=TEMPLATE)
        self._references = dict(zip(types, references, strict=True))
        for cls in types:
            if issubclass(cls, Frame):
                _complete_command(found[self._name(cls)], cls)
        self.components: dict[str, Schema] = {name: _translated(found[name]) for name in sorted(found)}

    def reference(self, cls: type) -> Schema:
        """Return the reference to a struct's schema."""
        return dict(self._references[cls])

    def schema(self, cls: type) -> Schema:
        """Return a struct's schema."""
        return self.components[self._name(cls)]

    def _name(self, cls: type) -> str:
        return str(self._references[cls]["$ref"]).removeprefix(TEMPLATE.format(name=""))


def catalogue() -> Catalogue:
    """Return the schemas of all commands, acks and events."""
    acks = [ack_of(command) for command in COMMANDS.values()]
    return Catalogue([Connect, *COMMANDS.values(), *acks, *events()])


def ack_schema(command: type[Frame], fields: Schema) -> Schema:
    """Return the schema of the frame that acknowledges a command; `fields` is that of its `Ack`."""
    required = ["type", *(["ref"] if command.RECORDED else []), *fields.get("required", [])]
    frame = {"type": {"const": "ack"}, "ref": _ref_schema()}
    return {**fields, "properties": {**frame, **fields["properties"]}, "required": required}


def error_schema(error: type[OnRecordError]) -> Schema:
    """Return the schema of the frame that answers a refused command with one code."""
    shown = {name: _SHOWN[name] for name in error.shown}
    return {
        "title": error.__name__,
        "type": "object",
        "properties": {
            "type": {"const": "error"},
            "ref": _ref_schema(),
            "code": {"const": error.code},
            "message": {"type": "string"},
            "retryable": {"const": error.retryable},
            **shown,
        },
        "required": ["type", "code", "message", "retryable", *shown],
    }


def _complete_command(schema: Schema, command: type[Frame]) -> None:
    schema["properties"]["type"] = {"const": command.TYPE}
    if command.RECORDED:
        schema["properties"]["ref"] = _ref_schema()
        schema["required"] = ["type", "ref", *schema["required"][1:]]


def _ref_schema() -> Schema:
    return {"type": "string", "pattern": _pattern(REF)}


def _translated(value: Any, name: str = "") -> Any:
    """Return a schema and all its parts in the dialect of JSON Schema; `name` is the field that it describes."""
    if isinstance(value, list):
        return [_translated(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    result = {
        key: (
            {field: _translated(schema, field) for field, schema in item.items()}
            if key == "properties"
            else _translated(item, name if key in ("anyOf", "oneOf") else "")
        )
        for key, item in value.items()
    }
    if isinstance(pattern := result.get("pattern"), str):
        result["pattern"] = _pattern(pattern)
    if isinstance(description := result.get("description"), str):
        result["description"] = inspect.cleandoc(description)  # Python 3.13 and later do so themselves
    return _timed(name, result)


def _timed(name: str, schema: Schema) -> Schema:
    plain = schema.get("type") == "string" and "pattern" not in schema
    times = plain and (name in _TIMES or name.endswith("At"))
    return {**schema, "format": "date-time"} if times else schema


def _pattern(python: str) -> str:
    """Return a regular expression of Python's in the dialect of JSON Schema, ECMA-262."""
    return python.replace(r"\A", "^").replace(r"\Z", "$")
