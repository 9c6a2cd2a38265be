"""Prints docs/reference/examples.md: every frame by example, made from the structs. `make docs` writes it."""

import json
from typing import Any

from service.errors import every_error
from service.protocol.acks import ack_of
from service.protocol.close_codes import Close
from service.protocol.commands import COMMANDS, Connect
from service.protocol.contract import schemas
from service.protocol.contract.examples import ack_example, command_examples, error_frame, example

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
    Close.TOKEN_INVALID: ('`{"type":"connect","protocol":1}`', "The token is not valid: none was given."),
    Close.MALFORMED: ("`hello`", "not JSON"),
    Close.PROTOCOL_VERSION: ('`{"type":"connect","protocol":2}`', "this server speaks protocol 1"),
    Close.SUSPENDED: ("the account is suspended", "suspended"),
    Close.ERASED: ("the person is erased", "erased"),
    Close.TOO_LARGE: ("a frame of more than 128 KiB", "a message has at most 131072 bytes"),
}
"""Per close code its cause, and the reason in the close frame."""


def page() -> str:
    """Return the page."""
    lines = [
        "# The wire protocol by example",
        "",
        "Generated from the code by `make docs`; a test checks that it is current. [The protocol](protocol.md)",
        "explains the frames, and [asyncapi.yaml](asyncapi.yaml) has their schemas.",
        "",
        "## Commands and their acks",
        *_block("connect", [("->", frame) for frame in command_examples(Connect)]),
    ]
    for kind, command in COMMANDS.items():
        sent = [("->", frame) for frame in command_examples(command)]
        lines += _block(kind, [*sent, ("<-", ack_example(ack_of(command)))])
    lines += ["", "## Events"]
    for event in schemas.events():
        lines += _block(schemas.event_name(event), [("<-", example(event))])
    lines += ["", "## Errors"]
    for code, error in every_error().items():
        lines += _block(code, [("<-", error_frame(error))])
    lines += ["", "## Closes", "", "| cause | code | reason |", "|---|---|---|"]
    lines += [f"| {before} | {close.value} | {reason} |" for close, (before, reason) in CLOSED.items()]
    return "\n".join(lines) + "\n"


def _block(title: str, frames: list[tuple[str, dict[str, Any]]]) -> list[str]:
    texts = [f"    {way} {json.dumps(frame, ensure_ascii=False)}" for way, frame in frames]
    return ["", f"### `{title}`", "", *texts]


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - a program's output
