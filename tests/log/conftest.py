"""What the log's tests share: a database each, and nodes that append to it."""

from collections.abc import Iterator

import pytest

from service.embedded import Servers, throwaway
from tests.databases import database

__all__ = ["database"]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with throwaway() as running:
        yield running
