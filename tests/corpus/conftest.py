"""Each kept corpus, restored as its version left it and brought to the newest schema once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations.run import migrate
from service.embedded import Servers
from tests.support.corpus.kept import Corpus, Rows, corpora, tables, views
from tests.support.servers.databases import Database, _maintenance, database_named, fresh_database


@dataclass(frozen=True)
class Upgraded:
    """A corpus in a database of this version, and the rows of its tables and views around the migration."""

    corpus: Corpus
    database: Database
    tables_before: dict[str, list[Rows]]
    tables_after: dict[str, list[Rows]]
    views_after: dict[str, list[Rows]]


@pytest.fixture(scope="session", params=corpora(), ids=lambda corpus: corpus.place.name)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    kept: Corpus = request.param
    return kept


@pytest.fixture(scope="session", params=["by one superuser", "by narrow logins"])
def upgraded(servers: Servers, corpus: Corpus, request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    """Give the corpus after `onrecord migrate`; tests read it, and change a copy."""
    with _restored(servers, corpus) as restored:
        with psycopg.connect(restored.superuser_url) as reader:
            before = tables(reader)
        database = of_logins(restored, narrow="narrow" in request.param)
        if "narrow" in request.param:
            servers.postgres.hand_over(database.name)
        migrate(database.owner_url, database.app_url, database.worker_url)
        with psycopg.connect(database.superuser_url) as reader:
            after, shown = tables(reader), views(reader)
        yield Upgraded(corpus, database, before, after, shown)


def of_logins(database: Database, *, narrow: bool) -> Database:
    """Return a database with the logins of this version, or with one superuser's address for everything.

    Roles are of the whole server, so no login is given more than it has in other tests.
    """
    if narrow:
        return database
    superuser = database.superuser_url
    return replace(database, owner_url=superuser, app_url=superuser, worker_url=superuser)


@contextmanager
def _restored(servers: Servers, corpus: Corpus) -> Iterator[Database]:
    database = database_named(servers, f"test_{uuid4().hex}")
    name = sql.Identifier(database.name)
    with fresh_database(servers), _maintenance(servers) as maintenance:  # the roles are there from now on
        maintenance.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        corpus.restore(servers, database)
        yield database
    finally:
        with _maintenance(servers) as maintenance:
            maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
