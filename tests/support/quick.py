"""`pytest --quick`: the tests that use no server and start no process.

A test is left out if one of its fixtures starts a server, if it needs a program, or if its module, or a module of
`tests.support` that it imports, can start a process. A test that starts one all the same fails.
"""

import re
import sys
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

SERVERS = {"servers", "place"}
"""Fixtures whose tests have servers; `database` depends on `servers`."""

STARTS_PROCESSES = re.compile(r"\b(subprocess|multiprocessing)\b")
IMPORTS = re.compile(r"^\s*from (tests\.support[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)
"""A pattern, since the syntax trees of all modules take seconds of each worker's start."""

STARTED = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty"}
"""Audit events of the interpreter."""

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests without servers and processes")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        settings.load_profile("quick")
        config.pluginmanager.register(_Guard())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    test = collection_path.match("test_*.py")
    return True if test and config.getoption("--quick") and may_start_processes(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        slow = [item for item in items if not is_quick(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


def is_quick(item: pytest.Item) -> bool:
    """Return whether a test runs only in this process."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return not fixtures & SERVERS and item.get_closest_marker("needs") is None


def examples(number: int) -> int:
    """Return how many examples a state machine runs: `number`, or fewer with `--quick`."""
    return min(number, 40) if settings.get_current_profile_name() == "quick" else number


@cache
def may_start_processes(path: Path) -> bool:
    """Return whether a module, or a module of `tests.support` that it imports, names a way to start processes."""
    source = path.read_text()
    if path == Path(__file__):
        return False
    return bool(STARTS_PROCESSES.search(source)) or any(map(may_start_processes, _shared_modules(source)))


def _shared_modules(source: str) -> set[Path]:
    found = set()
    for module, names in IMPORTS.findall(source):
        package = ROOT / module.replace(".", "/")
        paths = [package.with_suffix(".py"), *(package / f"{name}.py" for name in re.findall(r"\w+", names))]
        found |= {path for path in paths if path.exists()}
    return found


class _Guard:
    """Fails a test that starts a process; pytest's own plugins may, between tests."""

    def __init__(self) -> None:
        self._testing = False
        sys.addaudithook(self._refuse)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._testing = True
        try:
            return (yield)
        finally:
            self._testing = False

    def _refuse(self, event: str, _arguments: object) -> None:
        if self._testing and event in STARTED:
            raise AssertionError("a quick test has started a process: see tests/support/quick.py")
