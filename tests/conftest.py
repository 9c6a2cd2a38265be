"""What every test can have: real servers, thrown away at the end."""

from collections.abc import Iterator

import pytest

from service import embedded

pytest_plugins = ["tests.needs"]


@pytest.fixture(scope="session")
def servers() -> Iterator[embedded.Servers]:
    """A PostgreSQL and a Valkey of this run's own. A test that restarts them puts them back."""
    with embedded.throwaway() as running:
        yield running


# The fixture `database` (a fresh, migrated database on `servers` for one test) belongs here.
