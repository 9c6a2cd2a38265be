"""Examples of frames and HTTP requests, from a recorded conversation with a running server.

`make docs` records `recording.json`: it plays the story of `tests/support/story` on a node. What is not recorded has no
example here, and a test names it.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from service.errors import OnRecordError
from service.protocol.close_codes import Close
from service.protocol.commands import Connect
from service.protocol.problems import problem_fields, status_of

RECORDING = Path(__file__).parent / "recording.json"

Value = dict[str, Any]

_HEAD = ("type", "title", "status", "detail", "code")
"""The fields of a problem document that a frame has no or another name for."""


@cache
def recording() -> Value:
    """Return the recording.

    Each of its `scenes` has a `title`, a `text` and `entries`; each of its `closes` has a `code`, the `cause` and the
    `reason` in the close frame.
    """
    found: Value = json.loads(RECORDING.read_text(encoding="utf-8"))
    return found


def commands(kind: str) -> list[Value]:
    """Return the recorded commands of a type that were carried out, one for each set of fields."""
    acked = {(who, frame["ref"]) for who, frame in _frames("receives") if frame["type"] == "ack"}
    sent = [(who, frame) for who, frame in _frames("sends") if frame["type"] == kind]
    if kind == Connect.TYPE:  # which has no ref
        return _shapes(frame for _, frame in sent if "token" in frame)
    return _shapes(frame for who, frame in sent if (who, frame.get("ref")) in acked)


def acks(kind: str) -> list[Value]:
    """Return the recorded acks of the commands of a type, one for each set of fields."""
    sent = {(who, frame.get("ref")): frame["type"] for who, frame in _frames("sends")}
    return _shapes(
        frame
        for who, frame in _frames("receives")
        if frame["type"] == "ack" and sent[who, frame["ref"]] == kind
    )


def events(name: str) -> list[Value]:
    """Return the recorded events of a type, one for each set of fields."""
    return _shapes(frame for _, frame in _frames("receives") if frame["type"] == name)


def requests(method: str, path: str) -> list[Value]:
    """Return the recorded requests of an operation that were not refused; each has its `answer` or its `lines`."""
    return [
        entry
        for entry in _entries()
        if "request" in entry
        and (entry["request"]["method"], entry["request"]["path"]) == (method, path)
        and entry["status"] < HTTPStatus.BAD_REQUEST
    ]


def error_frames(error: type[OnRecordError]) -> list[Value]:
    """Return one recorded frame with an error's code; if it was recorded over HTTP only, the frame with its fields."""
    recorded = [frame for _, frame in _frames("receives") if frame.get("code") == error.code]
    made = [{"type": "error", "code": error.code, **_fields(problem)} for problem in _problems(error)]
    return [*recorded, *made][:1]


def problem(error: type[OnRecordError]) -> Value:
    """Return a recorded problem document of an error; if it was recorded on a socket only, one with its fields."""
    if found := _problems(error):
        return found[0]
    frames = [frame for frame in error_frames(error) if _sentence(error).fullmatch(frame["message"])]
    if not frames:
        return problem_fields(error())
    status = status_of(error)
    head = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    data = {name: value for name, value in frames[0].items() if name not in ("type", "ref", "message")}
    return {**head, "detail": frames[0]["message"], **data}


def closed(close: Close) -> Value | None:
    """Return the content of a close frame with a code, None if the recording has none."""
    found = (shown for shown in recording()["closes"] if shown["code"] == close)
    return next(({"code": shown["code"], "reason": shown["reason"]} for shown in found), None)


def _entries() -> list[Value]:
    return [entry for scene in recording()["scenes"] for entry in scene["entries"]]


def _frames(way: str) -> list[tuple[str, Value]]:
    """Return the frames of the native endpoint that people sent or received."""
    return [(entry["who"], entry[way]) for entry in _entries() if isinstance(entry.get(way), dict)]


def _problems(error: type[OnRecordError]) -> list[Value]:
    answers = [entry["answer"] for entry in _entries() if entry.get("status", 0) >= HTTPStatus.BAD_REQUEST]
    return [
        answer
        for answer in answers
        if answer["code"] == error.code and _sentence(error).fullmatch(answer["detail"])
    ]


def _fields(problem: Value) -> Value:
    shown = {name: value for name, value in problem.items() if name not in _HEAD}
    return {"message": problem["detail"], **shown}


def _sentence(error: type[OnRecordError]) -> re.Pattern[str]:
    parts = re.split(r"{\w+}", error.sentence)
    return re.compile(".+".join(map(re.escape, parts)), re.DOTALL)


def _shapes(values: Iterable[Value]) -> list[Value]:
    """Return the first of the values for each set of fields."""
    return list({frozenset(value): value for value in reversed(list(values))}.values())[::-1]
