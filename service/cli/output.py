"""The output of the commands: data goes to stdout, messages for people to stderr."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import uvloop

FOUND = 1
"""The exit code of a command that found a problem, or whose room, user or event does not exist; see `service.cli`."""


def print_json(value: object) -> None:
    """Print a value as a line of JSON."""
    print(msgspec.json.encode(value).decode())


def form_of(args: argparse.Namespace) -> str:
    """Return `text` or `json`: what `--as` names, else text on a terminal and JSON for a program."""
    if args.form is None:
        return "text" if sys.stdout.isatty() else "json"
    return "text" if args.form == "text" else "json"


def print_as(args: argparse.Namespace, value: object, text: str) -> None:
    """Print a value as a line of JSON, or a text for people, as `form_of` tells."""
    if form_of(args) == "json":
        print_json(value)
    else:
        print_text(text + "\n")


def print_text(text: str) -> int:
    """Print text as UTF-8 in any locale; return the exit code 0."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
    return 0


def complain(problem: object) -> int:
    """Print a sentence to stderr; return the exit code `FOUND`."""
    print(problem, file=sys.stderr)
    return FOUND


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a long or demanding command on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
