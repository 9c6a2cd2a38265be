"""Failure lines in the logs of processes: log events of level `error` or `critical`, and tracebacks outside the log."""

import json
import re
from collections.abc import Iterable

TRACEBACK = "Traceback (most recent call last)"

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
        return "Traceback" if TRACEBACK in line else None
    failed = isinstance(entry, dict) and entry.get("level") in ("error", "critical")
    return str(entry["event"]) if failed else None


def unexpected(lines: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return the failures in lines that a node's name may precede (`node 1: `), without the expected ones."""
    found = [failure(re.sub(r"^node \d+: ", "", line)) for line in lines]
    return [event for event in found if event is not None and event not in expected]
