"""`pytest --quick`: the tests that use no server and start no process.

A test is left out if one of its fixtures starts a server, if it needs a program, or if its module, or a module of
`tests.support` that it imports, can start a process. A test that starts one all the same fails.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

SERVERS = {"servers", "place"}
"""Fixtures whose tests have servers; `database` depends on `servers`."""

STARTS_PROCESSES = re.compile(r"\b(subprocess|multiprocessing)\b")
STARTED = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty"}
"""Audit events of the interpreter."""

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests without servers and processes")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        sys.addaudithook(_refuse_processes)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        slow = [item for item in items if not is_quick(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


def is_quick(item: pytest.Item) -> bool:
    """Say whether a test runs in this process alone."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return not (fixtures & SERVERS or item.get_closest_marker("needs") or may_start_processes(item.path))


@cache
def may_start_processes(path: Path) -> bool:
    """Say whether a module, or a module of `tests.support` that it imports, names a way to start processes."""
    source = path.read_text()
    if path == Path(__file__):
        return False
    return bool(STARTS_PROCESSES.search(source)) or any(map(may_start_processes, _shared_modules(source)))


def _shared_modules(source: str) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.support"):
            package = ROOT / str(node.module).replace(".", "/")
            paths = [package.with_suffix(".py"), *(package / f"{name.name}.py" for name in node.names)]
            found |= {path for path in paths if path.exists()}
    return found


def _refuse_processes(event: str, _arguments: object) -> None:
    if event in STARTED:
        raise AssertionError("a quick test has started a process: see tests/support/quick.py")
