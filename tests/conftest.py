"""Fixtures of every test: throw-away servers, a database, a directory for servers."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from service import embedded
from tests.support.servers.databases import database
from tests.support.servers.memory import servers_directory

__all__ = ["database"]

pytest_plugins = ["tests.support.needs", "tests.support.quick", "tests.support.processes.log_watch"]

# The time of an example depends on what else the machine does.
settings.register_profile("onrecord", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("onrecord")


def pytest_configure() -> None:
    gc.disable()  # what is collected stays until the end


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking at every import and test again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def servers() -> Iterator[embedded.Servers]:
    """A PostgreSQL and a Valkey of this run's own. A test that restarts them puts them back."""
    with embedded.throwaway(servers_directory() / f"onrecord-throwaway-{os.geteuid()}") as running:
        yield running


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for servers of a test's own, as root too: pytest's is closed to the servers' system user."""
    made = Path(tempfile.mkdtemp(prefix="onrecord-test-", dir=servers_directory()))
    if os.geteuid() == 0:
        made.chmod(0o711)
    yield made
    shutil.rmtree(made)
