"""What the read side's tests share: a database each, and a world in it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.oracles.projected_log import World, world
from tests.support.servers.databases import Database


@pytest_asyncio.fixture
async def here(database: Database) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made
