"""The watch of the tests over logs: it sees the failures that a process logs, and only these."""

import logging

import pytest

from service.observability.structured_logging import JsonLines, PlainText
from tests.support.processes.failures import TRACEBACK, failure, unexpected


def line(level: int, event: str, form: logging.Formatter | None = None) -> str:
    record = logging.LogRecord("onrecord.test", level, __file__, 1, event, (), None)
    return (form or JsonLines("one")).format(record)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (line(logging.ERROR, "task_failed"), "task_failed"),
        (line(logging.CRITICAL, "command_failed"), "command_failed"),
        (line(logging.WARNING, "task_waits"), None),
        (line(logging.INFO, "connected"), None),
        (line(logging.ERROR, "task_failed", PlainText()), "task_failed"),
        (line(logging.CRITICAL, "command_failed", PlainText()), "command_failed"),
        (line(logging.WARNING, "task_waits", PlainText()), None),
        (TRACEBACK, "Traceback"),
        ("listening at http://127.0.0.1:8000", None),
        ("[]", None),
    ],
)
def test_failures_are_seen_by_level_or_traceback(text: str, found: str | None) -> None:
    assert failure(text) == found


def test_named_failures_are_expected() -> None:
    failed = line(logging.ERROR, "task_failed")
    lines = [f"node 2: {line(logging.ERROR, 'fenced')}", failed, f"projector: {failed}"]
    assert unexpected(lines, ["fenced"]) == ["task_failed", "task_failed"]
    assert unexpected(lines, ()) == ["fenced", "task_failed", "task_failed"]
