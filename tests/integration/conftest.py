"""Whole-system tests: a node of its own, as a real process, on a database of its own."""

from collections.abc import AsyncIterator

import pytest

from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database


@pytest.fixture
async def node(database: Database) -> AsyncIterator[Process]:
    """A node that serves."""
    async with running(environment(database), "serve") as process:
        yield process


@pytest.fixture
async def projector(database: Database) -> AsyncIterator[Process]:
    """A projector beside it."""
    async with running(environment(database), "project", "run") as process:
        yield process
