"""Commits as many posts in Postgres as a peer without a database handles, so that both use the same two cores.

A thread commits the posts that were due since its last commit, in one `INSERT` of rows of the size of a stored message.

Invariant: after a slice every post of it is committed, also on a machine that was too busy to keep the rate.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg

from service.embedded import Servers

ROW = b"x" * 480
"""The state of a short message in the log has about so many bytes."""

PACE = 0.005
"""Seconds between two commits, while commits are faster than that."""

Ballast = Callable[[float, float], AbstractContextManager[None]]
"""Commits so many posts a second, for so many seconds, beside the block."""


@contextmanager
def ballast(servers: Servers) -> Iterator[Ballast]:
    """Give a `Ballast` with a table of its own, which is dropped afterwards."""
    with psycopg.connect(servers.migrate_database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS ballast (id bigserial PRIMARY KEY, at timestamptz, state bytea)"
        )
        try:
            yield lambda rate, seconds: _committing(connection, rate, seconds)
        finally:
            connection.execute("DROP TABLE ballast")


@contextmanager
def _committing(
    connection: "psycopg.Connection[tuple[object, ...]]", rate: float, seconds: float
) -> Iterator[None]:
    failures: list[BaseException] = []

    def commit() -> None:
        try:
            _commit_all(connection, rate, seconds)
        except BaseException as error:  # noqa: BLE001 - raised in the measuring thread
            failures.append(error)

    thread = threading.Thread(target=commit, name="ballast")
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def _commit_all(connection: "psycopg.Connection[tuple[object, ...]]", rate: float, seconds: float) -> None:
    began, done, total = time.monotonic(), 0, int(rate * seconds)
    while done < total:
        due = min(total, int((time.monotonic() - began) * rate))
        if due > done:
            connection.execute(
                "INSERT INTO ballast (at, state) SELECT clock_timestamp(), %s FROM generate_series(1, %s)",
                (ROW, due - done),
            )
            done = due
        time.sleep(PACE)
