"""Two nodes over one log and one bus, as real processes, and the recorded sessions."""

import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from service.embedded import Servers
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database


@asynccontextmanager
async def two_nodes(
    database: Database, servers: Servers, **settings: str
) -> AsyncIterator[tuple[Process, Process]]:
    """Give two nodes connected by the bus."""
    env = environment(
        database,
        ONRECORD_REDIS_URL=settings.pop("ONRECORD_REDIS_URL", servers.redis_url),
        # A separate bus for this test: the key also determines the names of the channels.
        ONRECORD_BUS_KEY=base64.b64encode(os.urandom(32)).decode(),
        **settings,
    )
    async with (
        running(env | {"ONRECORD_NODE": "one"}, "serve") as one,
        running(env | {"ONRECORD_NODE": "other"}, "serve") as other,
    ):
        yield one, other


def sessions(database: Database, user: str) -> list[dict[str, Any]]:
    """Return the events of a user's sessions, by seq, each with its `type`."""
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(
            "SELECT topic, state FROM stored_events WHERE stream = %s ORDER BY originator_version",
            [f"session:{user}"],
        ).fetchall()
    return [{"type": topic.split(".")[1], **json.loads(state)} for topic, state in rows]


def closings(database: Database, user: str) -> dict[str, list[tuple[str, Any]]]:
    """Return by session the reason of its end and what was written to it, once for each recorded end."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for event in sessions(database, user):
        closed = found.setdefault(event["session"], [])
        if event["type"] == "SessionClosed":
            closed.append((event["reason"], event["ranges"]))
    return found


def still_open(database: Database) -> int:
    """Return the number of open sessions."""
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute("SELECT count(*) FROM open_sessions").fetchone()
    assert row is not None
    return int(row[0])
