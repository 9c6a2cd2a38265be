"""An event of the record as one line: JSON for programs, words for people. All pure, and the same bytes each time.

The rule: a line is one line. Whatever somebody wrote, no character of it ends the line or moves a terminal's cursor.
"""

import json
import re
from datetime import date, datetime
from typing import Any, Literal

import msgspec

from service.domain.events import Recorded
from service.protocol.events import timestamp

Form = Literal["ndjson", "text"]

ERASED, UNREADABLE = "(erased)", "(unreadable)"
_CAPITAL = re.compile("(?<!^)(?=[A-Z])")


def as_json(recorded: Recorded, *, stream: bool = False) -> bytes:
    """Return an event as a line of JSON: seq, position, type, by, at, and its own fields; `stream` adds whose it is.

    One whose state cannot be decoded is of the type `Unreadable`, with `topic`, `subject` and `reason`; one whose words
    cannot be opened has the reason in `unreadable`.
    """
    damage = recorded.damage
    fields: dict[str, Any] = {
        "seq": recorded.seq,
        "position": recorded.position,
        **({"stream": recorded.stream} if stream else {}),
        "type": _kind(recorded),
        "by": recorded.by,
        "at": timestamp(recorded.at),
        **_fields(recorded),
    }
    if damage is not None and damage.part == "words":
        fields["unreadable"] = damage.reason
    if recorded.erased:
        fields["erased"] = True
    return msgspec.json.encode(fields) + b"\n"


def as_text(recorded: Recorded) -> bytes:
    """Return an event as a line to be read: its number, its time, who, what, and what it says."""
    what = _CAPITAL.sub(" ", _kind(recorded)).lower()
    said = [
        f"{name}={_shown(value)}"
        for name, field in _fields(recorded).items()
        if (value := _value(recorded, name, field)) is not None and name != "ref"
    ]
    text = f"{recorded.seq:>6}  {timestamp(recorded.at)}  {recorded.by}  {what}"
    return f"{text}: {' '.join(said)}\n".encode() if said else f"{text}\n".encode()


def _kind(recorded: Recorded) -> str:
    return "Unreadable" if recorded.undecoded else type(recorded.event).__name__


def _fields(recorded: Recorded) -> dict[str, Any]:
    """Return the event's own fields, of one that cannot be decoded what is known of it."""
    if (damage := recorded.damage) is not None and recorded.undecoded:
        return {"topic": damage.topic, "subject": recorded.subject, "reason": damage.reason}
    return {name: _plain(getattr(recorded.event, name)) for name in recorded.event.__struct_fields__}


def _value(recorded: Recorded, name: str, value: object) -> object:
    """Return what a field says; None where that is nothing."""
    if value is None and name in recorded.event.PERSONAL:
        return ERASED if recorded.erased else UNREADABLE if recorded.damage else None
    return None if value in ((), {}) else value


def _shown(value: object) -> str:
    if value is ERASED or value is UNREADABLE:
        return str(value)
    quoted = json.dumps(_plain(value), ensure_ascii=False, default=list)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in quoted)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return timestamp(value)
    return value.isoformat() if isinstance(value, date) else value
