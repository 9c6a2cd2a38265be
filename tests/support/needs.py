"""Declares the programs that a test needs: `@pytest.mark.needs("node")`.

Invariant: a test that did not run is reported. A test whose program is absent is skipped and counted as NOT RUN at the
end; with REQUIRE_ALL=1 (CI sets it) any test that did not run fails the run.
"""

import os
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from service.gateway.transport.io_uring import Unsupported, tested

NOT_RUN = "NOT RUN: it needs "
# The names under which systems install the same program.
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
    "postgresql": tuple(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")))),  # Debian's
}


NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@cache
def refused() -> str:
    """Return why this machine refuses io_uring; empty if it allows it."""
    try:
        tested().close()
    except Unsupported as error:
        return str(error)
    return ""


def path_of(tool: str) -> str | None:
    """Return the path of the program `tool`, under any of its names; None if it is absent.

    `root` is the user, `io_uring` what the kernel allows, and `system-call-numbers` a header of the C library.
    """
    if tool == "root":
        return "/" if os.geteuid() == 0 else None
    if tool == "io_uring":
        return None if refused() else "/"
    if tool == "system-call-numbers":
        return str(NUMBERS) if NUMBERS.exists() else None
    return next(filter(None, map(shutil.which, PROGRAMS.get(tool, (tool,)))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("needs"):
            absent = [tool for tool in marker.args if path_of(tool) is None]
            if absent:
                item.add_marker(pytest.mark.skip(reason=NOT_RUN + " and ".join(absent)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if required() and skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reasons = skipped(config)
    absent = {reason: count for reason, count in reasons.items() if NOT_RUN in reason}
    if not absent and not (required() and reasons):
        return
    terminalreporter.section("NOT RUN", red=True, bold=True)
    for reason, count in (reasons if required() else absent).items():
        terminalreporter.line(f"{count} x {reason.removeprefix('Skipped: ')}", red=True)
    if required():
        terminalreporter.line("REQUIRE_ALL is set, so this run has failed.", red=True, bold=True)


def required() -> bool:
    return os.environ.get("REQUIRE_ALL", "") not in ("", "0")


def skipped(config: pytest.Config) -> Counter[str]:
    """The number of skipped tests, by reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter is not None else []
    places = (report.longrepr for report in reports)
    return Counter(str(place[2]) if isinstance(place, tuple) else str(place) for place in places)
