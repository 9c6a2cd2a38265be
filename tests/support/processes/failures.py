"""Failure lines in the logs of processes: log events of level `error` or `critical`, and tracebacks outside the log."""

import json
import re
from collections.abc import Iterable

TRACEBACK = "Traceback (most recent call last)"

PLAIN = re.compile(r"\d\d:\d\d:\d\d (?:error|critical) +(\w+)")
"""A failure line of `onrecord dev`, which logs plain text."""

OUTAGE = (
    "bus_failed",
    "catch_up_failed",
    "connect_failed",
    "not_appended",
    "projection_failed",
    "session_not_recorded",
)
"""Failures that processes may log while PostgreSQL or Redis is away."""


def failure(line: str) -> str | None:
    """Return the log event of a failure line, `Traceback` for one outside the log, None for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        if plain := PLAIN.match(line):
            return plain[1]
        return "Traceback" if TRACEBACK in line else None
    failed = isinstance(entry, dict) and entry.get("level") in ("error", "critical")
    return str(entry["event"]) if failed else None


def unexpected(lines: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return the failures in lines, without the expected ones; `node 1: ` or `projector: ` may precede a line."""
    found = [failure(re.sub(r"^(node \d+|projector): ", "", line)) for line in lines]
    return [event for event in found if event is not None and event not in expected]
