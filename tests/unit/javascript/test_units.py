"""The unit tests of the JavaScript client, which run in Node's own test runner."""

import gzip
import re

import pytest

from tests.support.javascript.package import NPM, package, run

pytestmark = [pytest.mark.needs("node", "npm"), pytest.mark.timeout(300)]

LIMIT = 15 * 1024
"""Bytes of the compressed core, at most."""


async def test_the_unit_tests_of_the_client_pass() -> None:
    made = await package()
    assert "# fail 0" in run(*NPM, "test", folder=made.folder)


async def test_the_core_is_small() -> None:
    made = await package()
    assert not re.search(r'(from|import)"\./', made.module.read_text()), "it is one file"
    assert len(gzip.compress(made.module.read_bytes(), 9)) <= LIMIT
