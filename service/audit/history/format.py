"""Formats an event as one line: JSON for programs, text for people. Pure; the same event gives the same bytes.

Invariant: a line is one line. No character that a user wrote ends the line or moves a terminal's cursor.
"""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from service.domain.events import Recorded
from service.protocol.events import timestamp
from service.protocol.forms import printable

Form = Literal["ndjson", "text"]

ERASED, UNREADABLE = "(erased)", "(unreadable)"
_CAPITAL = re.compile("(?<!^)(?=[A-Z])")


def as_json(recorded: Recorded, *, stream: bool = False) -> bytes:
    """Return an event as a line of JSON: seq, position, type, by, at and its own fields; `stream` adds its stream.

    An event whose state cannot be decoded has the type `Unreadable`, with `topic`, `subject` and `reason`. An event
    whose content cannot be decrypted has the reason in `unreadable`.
    """
    damage = recorded.damage
    fields: dict[str, Any] = {
        "seq": recorded.seq,
        "position": recorded.position,
        **({"stream": recorded.stream} if stream else {}),
        "type": _type_name(recorded),
        "by": recorded.by,
        "at": timestamp(recorded.at),
        **_fields(recorded),
    }
    if damage is not None and damage.part == "words":
        fields["unreadable"] = damage.reason
    if recorded.erased:
        fields["erased"] = True
    return msgspec.json.encode(fields) + b"\n"


def as_text(recorded: Recorded, names: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Return an event as a line of text: seq, time, actor, type and fields; `names` are shown beside user ids."""
    kind = _CAPITAL.sub(" ", _type_name(recorded)).lower()
    details = [
        f"{name}={_printable(value)}{_named(name, value, names)}"
        for name, field in _fields(recorded).items()
        if (value := _value(recorded, name, field)) is not None and name != "ref"
    ]
    text = f"{recorded.seq:>6}  {timestamp(recorded.at)}  {who(recorded.by, names)}  {kind}"
    return f"{text}: {' '.join(details)}\n".encode() if details else f"{text}\n".encode()


def who(user: str, names: Mapping[str, str]) -> str:
    """Return a user id with the name before it, if the user has another name than the id."""
    return titled(names.get(user), user)


def titled(name: str | None, identifier: str) -> str:
    """Return an id with a name before it, if there is one that differs from the id."""
    return f"{printable(name)} ({identifier})" if name and name != identifier else identifier


def when(at: str) -> str:
    """Return a time of an answer for people, to the second."""
    return f"{at[:19].replace('T', ' ')} UTC"


def _named(field: str, value: object, names: Mapping[str, str]) -> str:
    name = names.get(value, value) if field == "user" and isinstance(value, str) else value
    return "" if name == value else f" ({printable(str(name))})"


def _type_name(recorded: Recorded) -> str:
    return "Unreadable" if recorded.undecoded else type(recorded.event).__name__


def _fields(recorded: Recorded) -> dict[str, Any]:
    """Return the event's own fields, or the description of the damage if it cannot be decoded."""
    if (damage := recorded.damage) is not None and recorded.undecoded:
        return {"topic": damage.topic, "subject": recorded.subject, "reason": damage.reason}
    fields = {name: getattr(recorded.event, name) for name in recorded.event.__struct_fields__}
    later = recorded.event.LATER
    return {
        name: _plain(value) for name, value in fields.items() if name not in later or value != later[name]
    }


def _value(recorded: Recorded, name: str, value: object) -> object:
    """Return a field's value with erased and unreadable content marked; None if there is nothing to show."""
    if value is None and name in recorded.event.PERSONAL:
        return ERASED if recorded.erased else UNREADABLE if recorded.damage else None
    return None if value in ((), {}) else value


def _printable(value: object) -> str:
    if value is ERASED or value is UNREADABLE:
        return str(value)
    quoted = json.dumps(_plain(value), ensure_ascii=False, default=list)
    return printable(quoted)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return timestamp(value)
    return value.isoformat() if isinstance(value, date) else value
