"""Waiting for conditions; the time limit of the test is the only limit."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from tests.support.servers.databases import Database

LONGEST_PAUSE = 0.05
"""The longest pause between two checks of a condition, in seconds."""


async def until(condition: Callable[[], Any]) -> None:
    """Poll `condition`, plain or awaitable, until it is true; the pauses grow from 1 ms."""
    pause = 0.001
    while True:
        answer = condition()
        if hasattr(answer, "__await__"):
            answer = await answer
        if answer:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def projected(database: Database) -> None:
    """Wait until every read model has applied the last event of the log."""
    query = """SELECT bool_and(notification_id = (SELECT max(notification_id) FROM stored_events))
               FROM notification_tracking
               WHERE application_name NOT IN ('__migration__', 'tallies_v1')"""  # the latter is an old version's

    async def level() -> bool:
        with psycopg.connect(database.superuser_url) as owner:
            row = owner.execute(query).fetchone()
        return bool(row and row[0])

    await until(level)
