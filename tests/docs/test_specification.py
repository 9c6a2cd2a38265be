"""docs/reference/specification.md has every step of the original specification, and names only tests that run."""

import re
import tomllib

from tests.support.docs.named_tests import NAMED, named_in, not_collected
from tests.support.environment import ROOT

DOCUMENT = (ROOT / "docs" / "reference" / "specification.md").read_text()
STEPS = {1: 8, 2: 9, 3: 10}
"""Steps per ticket."""


def test_every_step_is_there_once_with_a_test_that_shows_it() -> None:
    rows = re.findall(r"^\| (\d+)\.(\d+) [^|]+\| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
    assert [(int(ticket), int(step)) for ticket, step, _, _ in rows] == [
        (ticket, step) for ticket, steps in STEPS.items() for step in range(1, steps + 1)
    ]
    for ticket, step, verify, shown in rows:
        assert verify.strip(), (ticket, step)
        assert NAMED.search(shown), (ticket, step)


async def test_every_test_that_is_named_is_collected() -> None:
    assert await not_collected(named_in(DOCUMENT)) == set()


def test_the_packages_are_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w.-]", line)[0] for line in declared}
    assert names >= {
        "starlette",
        "uvicorn",
        "broadcaster",
        "databases",
        "asyncpg",
        "authlib",
        "eventsourcing",
    }
