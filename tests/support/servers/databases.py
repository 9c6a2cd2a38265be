"""A separate migrated database for each test, copied from a template that is migrated once.

Creating and dropping a database wait for the disk, so both happen in threads beside the tests: the next database
is made while a test uses the last one.

A folder's conftest imports the fixture `database`; the servers come from the fixture `servers` of tests/conftest.py.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations.run import migrate
from service.embedded import Servers
from service.embedded.postgres import OWNER

TEMPLATE = "onrecord_template"

_beside = ThreadPoolExecutor(2, "databases")
_next: dict[str, "Future[str]"] = {}
"""The name of the database that is made next, by the address of its servers."""


@dataclass(frozen=True)
class Database:
    """A database and its addresses under each login. The owner migrates it and is no superuser."""

    name: str
    owner_url: str
    app_url: str
    worker_url: str
    superuser_url: str


@pytest.fixture
def database(servers: Servers) -> Iterator[Database]:
    with fresh_database(servers) as made:
        yield made


def database_of(servers: Servers) -> Database:
    """Return the addresses of the servers' default database."""
    return database_named(servers, "onrecord")


@contextmanager
def fresh_database(servers: Servers, template: str = TEMPLATE) -> Iterator[Database]:
    """Give a migrated database until the block ends, with the contents of the one from which it is copied."""
    name = _copy(servers, template) if template != TEMPLATE else _take_next(servers)
    try:
        yield database_named(servers, name)
    finally:
        _beside.submit(_drop, servers, name)


def _take_next(servers: Servers) -> str:
    address = servers.superuser_database_url
    made = _next.pop(address, None)
    # Servers that a test has stopped since have lost it.
    name = made.result() if made is not None and made.exception() is None else _copy(servers, TEMPLATE)
    _next[address] = _beside.submit(_copy, servers, TEMPLATE)
    return name


def _copy(servers: Servers, template: str) -> str:
    name = f"test_{uuid4().hex}"
    with _maintenance(servers) as connection:
        _make_template(servers, connection)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                *map(sql.Identifier, (name, template, OWNER))
            )
        )
    return name


def _drop(servers: Servers, name: str) -> None:
    with suppress(psycopg.OperationalError):  # the servers have ended, and the database goes with their files
        with _maintenance(servers) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def database_named(servers: Servers, name: str) -> Database:
    """Return the addresses of a database of the test servers."""
    return Database(
        name,
        _elsewhere(servers.migrate_database_url, name),
        _elsewhere(servers.database_url, name),
        _elsewhere(servers.projector_database_url, name),
        _elsewhere(servers.superuser_database_url, name),
    )


def _elsewhere(url: str, name: str) -> str:
    return f"{url.rsplit('/', 1)[0]}/{name}"


def _maintenance(servers: Servers) -> psycopg.Connection:
    return psycopg.connect(_elsewhere(servers.superuser_database_url, "postgres"), autocommit=True)


def _make_template(servers: Servers, connection: psycopg.Connection) -> None:
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        servers.postgres.hand_over(TEMPLATE)
        template = database_named(servers, TEMPLATE)
        migrate(template.owner_url, template.app_url, template.worker_url)
