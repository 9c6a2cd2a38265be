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

ERASED = "(erased)"
_CAPITAL = re.compile("(?<!^)(?=[A-Z])")


def as_json(recorded: Recorded, *, stream: bool = False) -> bytes:
    """Return an event as a line of JSON: seq, position, type, by, at, and its own fields; `stream` adds whose it is."""
    fields: dict[str, Any] = {
        "seq": recorded.seq,
        "position": recorded.position,
        **({"stream": recorded.stream} if stream else {}),
        "type": type(recorded.event).__name__,
        "by": recorded.by,
        "at": timestamp(recorded.at),
        **{name: _plain(getattr(recorded.event, name)) for name in recorded.event.__struct_fields__},
    }
    if recorded.erased:
        fields["erased"] = True
    return msgspec.json.encode(fields) + b"\n"


def as_text(recorded: Recorded) -> bytes:
    """Return an event as a line to be read: its number, its time, who, what, and what it says."""
    what = _CAPITAL.sub(" ", type(recorded.event).__name__).lower()
    said = [
        f"{name}={_shown(value)}"
        for name in recorded.event.__struct_fields__
        if (value := _value(recorded, name)) is not None and name != "ref"
    ]
    text = f"{recorded.seq:>6}  {timestamp(recorded.at)}  {recorded.by}  {what}"
    return f"{text}: {' '.join(said)}\n".encode() if said else f"{text}\n".encode()


def _value(recorded: Recorded, name: str) -> object:
    """Return what a field says; None where that is nothing."""
    value = getattr(recorded.event, name)
    if value is None and recorded.erased and name in recorded.event.PERSONAL:
        return ERASED
    return None if value in ((), {}) else value


def _shown(value: object) -> str:
    if value is ERASED:
        return ERASED
    quoted = json.dumps(_plain(value), ensure_ascii=False, default=list)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in quoted)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return timestamp(value)
    return value.isoformat() if isinstance(value, date) else value
