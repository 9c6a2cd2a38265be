"""Prints docs/reference/examples.md from the recording of the story. `make docs` writes it."""

import json
import re
from typing import Any
from urllib.parse import quote, urlencode

from service.errors import every_error
from service.protocol.close_codes import Close
from service.protocol.commands import COMMANDS
from service.protocol.contract import examples, schemas

CLOSED: dict[Close, tuple[str, str]] = {
    Close.SHUTTING_DOWN: ("the node stops", "shutting down"),
    Close.TOKEN_EXPIRED: ("no `auth:refresh` came before `expiresAt`", "token expired"),
    Close.TOKEN_NOT_YET_VALID: (
        "the `nbf` of the token is in 2099",
        "The token is not valid before 2099-01-01T00:00:00Z.",
    ),
    Close.TOO_SLOW: ("more than 1 MiB waits for this connection", "too slow"),
    Close.TOO_MANY_REQUESTS: (
        "a hundred more commands were refused as too many than were admitted",
        "too many requests",
    ),
    Close.NO_PONG: ("a ping was not answered in time", "no pong"),
    Close.FENCED: (
        "the node was paused, and others have taken over",
        "this node was taken for dead; come back",
    ),
    Close.TOKEN_INVALID: (
        '`{"type":"connect","protocol":1}`',
        "The token is not valid: none was given; send it as token in connect.",
    ),
    Close.MALFORMED: ("`hello`", "not JSON"),
    Close.PROTOCOL_VERSION: ('`{"type":"connect","protocol":2}`', "this server speaks protocol 1"),
    Close.SUSPENDED: ("the account is suspended", "suspended"),
    Close.ERASED: ("the person is erased", "erased"),
    Close.TOO_LARGE: ("a frame of more than 128 KiB", "a message has at most 131072 bytes"),
}
"""Per close code its cause, and the reason in the close frame."""


INTRODUCTION = """\
# The wire protocol by example

This conversation was recorded on a running server. `make docs` records it again, and a test checks that the page is
current. Ids, tokens, times and log positions are replaced by others; nothing else is changed.
[The protocol](protocol.md) explains the frames, [asyncapi.yaml](asyncapi.yaml) and [openapi.yaml](openapi.yaml) have
their schemas, and the [index](#index) says where each command, event and error is.

`ann -> {...}` is a frame that Ann sends, `ann <- {...}` one that she receives. An event that several people receive
alike is shown once. On the Socket.IO endpoint, a line has the name of an event and its payload."""


def page() -> str:
    """Return the page."""
    lines = [INTRODUCTION]
    for scene in examples.recording()["scenes"]:
        lines += ["", f"## {scene['title']}", "", scene["text"], ""]
        lines += [f"    {line}" for entry in scene["entries"] for line in _lines(entry)]
    lines += ["", "## Closes", "", "| cause | code | reason |", "|---|---|---|"]
    lines += [
        f"| {shown['cause']} | {shown['code']} | {shown['reason']} |"
        for shown in examples.recording()["closes"]
    ]
    return "\n".join([*lines, *_index()]) + "\n"


def _lines(entry: dict[str, Any]) -> list[str]:
    who = entry["who"]
    if "request" in entry:
        answers = entry.get("lines") or ([entry["answer"]] if entry.get("answer") is not None else [""])
        shown = [f"{who} <- {entry['status']} {_json(answer)}".rstrip() for answer in answers]
        return [f"{who} -> {_request(entry['request'])}", *shown]
    if "closed" in entry:
        return [f"{who} <- close {entry['closed']['code']} {entry['closed']['reason']}"]
    way, value = ("->", entry["sends"]) if "sends" in entry else ("<-", entry["receives"])
    if isinstance(value, list):
        return [f"{who} {way} {value[0]} {_json(value[1])}"]
    return [f"{who} {way} {value if isinstance(value, str) else _json(value)}"]


def _request(request: dict[str, Any]) -> str:
    path, parameters = request["path"], dict(request["parameters"])
    for name in re.findall(r"{(\w+)}", path):
        path = path.replace(f"{{{name}}}", quote(parameters.pop(name), safe=""))
    query = urlencode(
        {name: str(value).lower() if value is False else value for name, value in parameters.items()}
    )
    body = f" {_json(request['body'])}" if "body" in request else ""
    return f"{request['method']} {path}{f'?{query}' if query else ''}{body}"


def _index() -> list[str]:
    """Return where each command, event and error is first shown."""
    carried_out = [frame for kind in ("connect", *COMMANDS) for frame in examples.commands(kind)]
    sent = {
        entry["sends"]["type"]: scene
        for entry, scene in reversed(_entries())
        if entry.get("sends") in carried_out
    }
    received = _first("receives", "type")
    problems = [
        (entry["answer"], scene) for entry, scene in _entries() if "code" in (entry.get("answer") or ())
    ]
    refused = {problem["code"]: scene for problem, scene in problems} | _first("receives", "code")
    events = map(schemas.event_name, schemas.events())
    rows = [
        *(("command", name, sent.get(name)) for name in ("connect", *COMMANDS)),
        *(("event", name, received.get(name)) for name in events),
        *(("error", code, refused.get(code)) for code in every_error()),
    ]
    lines = [f"| {kind} | `{name}` | [{scene}](#{_anchor(scene)}) |" for kind, name, scene in rows if scene]
    return ["", "## Index", "", "| | name | scene |", "|---|---|---|", *lines]


def _first(way: str, field: str) -> dict[str, str]:
    shown = [(entry[way], scene) for entry, scene in _entries() if isinstance(entry.get(way), dict)]
    return {frame[field]: scene for frame, scene in reversed(shown) if field in frame}


def _entries() -> list[tuple[dict[str, Any], str]]:
    return [(entry, scene["title"]) for scene in examples.recording()["scenes"] for entry in scene["entries"]]


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - a program's output
