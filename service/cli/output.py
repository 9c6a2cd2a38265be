"""What every command does with its words: what machines read goes to stdout, what people read to stderr."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import uvloop

FOUND = 1
"""The exit code of a command that found something, or not what it was asked for; see `service.cli`."""


def print_json(value: object) -> None:
    """Print a value as a line of JSON."""
    print(msgspec.json.encode(value).decode())


def say(words: object) -> int:
    """Say something to whoever runs the command; return `FOUND`, with which most of what is said ends."""
    print(words, file=sys.stderr)
    return FOUND


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a command that lasts, or has much to do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        return running.run(main)
