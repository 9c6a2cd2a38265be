"""Connections of commands to the log."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from service.cli.output import complain
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.errors import Refusal
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]


@asynccontextmanager
async def connected(settings: Settings, url: str | None = None) -> AsyncIterator["Connection"]:
    """Give a connection to `url`, by default as the application's login."""
    connection = await asyncpg.connect(url or settings.database_url, timeout=settings.database_timeout)
    try:
        yield connection
    finally:
        connection.terminate()  # an ordered goodbye waits for a query that was interrupted


def serializer_of(settings: Settings) -> EventSerializer:
    """Return a serializer with the keys of the settings."""
    return EventSerializer(KeyRing(settings.key_encryption_key))


def run_on_log(
    settings: Settings, work: "Callable[[Connection, EventSerializer], Coroutine[Any, Any, int | None]]"
) -> int:
    """Run `work` over a connection and return its exit code, 0 for None; print a refusal and return 1."""

    async def run() -> int:
        async with connected(settings) as connection:
            return await work(connection, serializer_of(settings)) or 0

    try:
        return asyncio.run(run())
    except Refusal as problem:
        return complain(problem)
