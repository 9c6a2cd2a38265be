"""A node, and stock clients of every release."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clients.socketio import VERSIONS, Driver, driver


@pytest.fixture(params=VERSIONS)
async def stock(request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    """Stock clients of each release in turn."""
    async with driver(request.param) as running:
        yield running


@pytest.fixture
async def newest() -> AsyncIterator[Driver]:
    """Stock clients of the newest release."""
    async with driver("newest") as running:
        yield running
