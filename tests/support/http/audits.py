"""Auditors over HTTP, and their readings in the access log."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.environment import token
from tests.support.eventstore.log_node import stored
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database
from tests.support.waiting import until


@asynccontextmanager
async def visitor(node: Process, user: str, scope: str, **claims: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Give an HTTP client whose token grants a scope."""
    headers = {"Authorization": f"Bearer {token(user, scope=scope, **claims)}"}
    async with httpx.AsyncClient(base_url=node.address, headers=headers) as http:
        yield http


async def ended(database: Database, sessions: int) -> None:
    """Wait until this many `sessions` are closed on the record."""

    async def closed() -> bool:
        query = "SELECT count(*) FROM stored_events WHERE topic = 'session.SessionClosed.v1'"
        return bool((await stored(database, query))[0][0] == sessions)

    await until(closed)


async def readings(database: Database) -> list[tuple[str, dict[str, Any]]]:
    """Return the recorded readings with their readers, from the stored bytes."""
    query = "SELECT recorded_by, state, seq FROM (SELECT *, originator_version AS seq FROM stored_events) e"
    rows = await stored(database, f"{query} WHERE stream = 'audit' ORDER BY seq")
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["recorded_by"], json.loads(row["state"])) for row in rows]
