"""Watches the logs of the processes that a test starts.

Invariant: a failure line that the test does not name with `@pytest.mark.logs(...)` fails the test.
"""

from collections.abc import Iterator

import pytest

from tests.support.processes.failures import failure
from tests.support.processes.processes import STARTED


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark by which a test names the failures that it causes."""
    config.addinivalue_line("markers", "logs(*events): failure lines that the processes of this test may log")


@pytest.fixture(autouse=True)
def logs_name_no_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test whose processes have logged a failure that it does not name."""
    yield
    named = {event for mark in request.node.iter_markers("logs") for event in mark.args}
    found: list[str] = []
    for process in list(STARTED):
        fresh = process.words[process.watched :]
        process.watched += len(fresh)
        found += [line for line in fresh if (event := failure(line)) is not None and event not in named]
        if process.process.returncode is not None:
            STARTED.remove(process)
    assert not found, "the logs show failures that the test does not name:\n" + "".join(found)
