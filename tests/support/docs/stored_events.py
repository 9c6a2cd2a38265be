"""Prints docs/reference/stored-events.md: every event as the log stores it, from its class. `make docs` writes it."""

import inspect
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from service.domain.events import EVENTS, Event
from service.domain.streams import NEW_MESSAGE

STREAMS = {
    "room": "room:<room>",
    "reader": "reader:<room>:<user>",
    "report": "report:<room>",
    "person": "person:<user>",
    "session": "session:<user>",
    "hold": "holds",
    "retention": "retention",
    "audit": "audit",
}
"""The stream of an event, by the first part of its topic."""

TYPES = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "datetime": "time (RFC 3339)",
    "date": "date (RFC 3339)",
    "NoneType": "null",
}
"""The types of Python as those of JSON."""

INTRODUCTION = """\
# Stored events

Generated from `service/domain/events.py` by `make docs`; a test checks that it is current. A released event never loses
a field.

## The envelope

The table `stored_events` has a row per event. These columns are the envelope:

| column | contains |
|---|---|
| `topic` | the stored name of the event; it never changes |
| `stream` | the stream, such as `room:general` |
| `originator_id` | the UUID (version 5) of the stream's name |
| `originator_version` | the `seq`: numbers the stream from 1, without a gap |
| `notification_id` | the `position`: orders the whole log, and may skip numbers |
| `subject` | what in its stream the event is about |
| `recorded_at` | the database's time (UTC, microseconds) |
| `recorded_by` | the author: a user id, `os:NAME` for a command, or `node:NAME` for what a node does by itself |
| `key_id` | the key of the personal fields; NULL if there are none |
| `state` | the fields of the event, as a JSON object |

A field that has its default value may be absent from `state`.

A *personal* field contains text of the author. It is stored as `{"k": key id, "h": commitment, "c": nonce and
ciphertext}` (base64), under a key of its author, and reads as null once that key is destroyed
([erase a person](../guides/erase-a-person.md)). All other fields are stored unencrypted, and stay after an erasure.

## Overview

| topic | stream | subject | personal fields |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = "".join(
        f"| [`{topic}`](#{_anchor(topic)}) | `{STREAMS[topic.split('.')[0]]}` | {_subjects(event)} "
        f"| {', '.join(f'`{name}`' for name in event.PERSONAL)} |\n"
        for topic, event in EVENTS.items()
    )
    return INTRODUCTION + rows + "".join(_section(topic, event) for topic, event in EVENTS.items())


def _section(topic: str, event: type[Event]) -> str:
    text = f"\n## `{topic}`\n\n{inspect.getdoc(event)}\n"
    fields = msgspec.structs.fields(event)
    if not fields:
        return f"{text}\nNo fields.\n"
    hints = get_type_hints(event)
    rows = [
        f"| `{field.name}` | {_type(hints[field.name])} | {_default(field)} "
        f"| {'yes' if field.name in event.PERSONAL else 'no'} |\n"
        for field in fields
    ]
    return f"{text}\n| field | type | default | personal |\n|---|---|---|---|\n{''.join(rows)}"


def _subjects(event: type[Event]) -> str:
    """Return the forms of an event's subject, with fields in angle brackets."""
    found = dict.fromkeys(event(**values).subject for values in _placeholders(event))
    found = {f"{NEW_MESSAGE}<seq>" if subject == NEW_MESSAGE else subject: None for subject in found}
    return " or ".join(f"`{subject}`" for subject in found)


def _placeholders(event: type[Event]) -> Iterator[dict[str, Any]]:
    """Yield values for the required fields, alone and with each optional field."""
    fields = msgspec.structs.fields(event)
    required = {field.name: f"<{field.name}>" for field in fields if field.required}
    yield from ({**required, field.name: f"<{field.name}>"} for field in fields if not field.required)
    yield required


def _type(hint: Any) -> str:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(map(_type, parts))
    if kind is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if kind is dict:
        return f"object of {_type(parts[1])}"
    if kind is tuple and parts[-1] is ...:
        return f"array of {_type(parts[0])}"
    if kind is tuple:
        return f"[{', '.join(map(_type, parts))}]"
    return TYPES[hint.__name__]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`"


def _anchor(topic: str) -> str:
    return topic.lower().replace(".", "")


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - a program's output
