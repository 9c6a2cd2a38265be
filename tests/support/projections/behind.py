"""A read model that is far behind the log."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.support.servers.databases import Database


@contextmanager
def behind(database: Database, table: str) -> Iterator[None]:
    """Let a read model count as not begun."""
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        query = "DELETE FROM notification_tracking WHERE application_name = %s RETURNING notification_id"
        row = connection.execute(query, [table]).fetchone()
        assert row is not None
        yield
        connection.execute("INSERT INTO notification_tracking VALUES (%s, %s)", [table, row[0]])
