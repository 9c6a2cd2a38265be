"""The tests that a document names; each has to be a test that pytest collects."""

import asyncio
import re
import sys

from tests.support.environment import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def named_in(document: str) -> set[str]:
    """Return the tests that a document names, each as FILE::NAME."""
    return {f"{file}::{test}" for file, test in NAMED.findall(document)}


async def not_collected(named: set[str]) -> set[str]:
    """Return those that pytest does not collect."""
    files = sorted({test.split("::")[0] for test in named})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return named - {line.split("[")[0] for line in out.decode().splitlines() if "::" in line}
