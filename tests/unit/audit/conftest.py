"""What the auditor's tests share: a database each, empty or with a log that is sealed."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.embedded import Servers
from tests.support.eventstore.sealed_logs import fill, seal
from tests.support.servers.databases import Database, fresh_database


async def _fill(database: Database) -> None:
    await fill(database, messages=300)
    assert await seal(database, at_once=40) == 308


@pytest.fixture(scope="session")
def sealed_log(servers: Servers) -> Iterator[Database]:
    """What `sealed` copies: writing it takes longer than most tests do."""
    with fresh_database(servers) as made, ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(asyncio.run, _fill(made)).result()  # here a test's loop may be about to run
        yield made


@pytest.fixture
def sealed(servers: Servers, sealed_log: Database) -> Iterator[Database]:
    """A log of 308 events in seals of 40, so that there is an inner subtree too; the test's own."""
    with fresh_database(servers, sealed_log.name) as made:
        yield made
