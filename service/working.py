"""What the commands that change the record share: one connection, and a refusal as one sentence; see `service.app`."""

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from service.console import say
from service.errors import Refusal
from service.log.keys import KeyRing
from service.log.mapper import Mapper
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Connection = asyncpg.Connection[Any]


def work(settings: Settings, do: "Callable[[Connection, Mapper], Coroutine[Any, Any, int]]") -> int:
    """Do some work over a connection, which returns the exit code; 1 and a sentence where it is refused."""

    async def run() -> int:
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            return await do(connection, Mapper(KeyRing(settings.key_encryption_key)))
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except Refusal as problem:
        return say(problem)
