"""What the commands that change the record share: one connection, and a refusal as one sentence."""

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from service.cli.output import say
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.errors import Refusal
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Connection = asyncpg.Connection[Any]


def work(settings: Settings, do: "Callable[[Connection, EventSerializer], Coroutine[Any, Any, int]]") -> int:
    """Do some work over a connection, which returns the exit code; 1 and a sentence where it is refused."""

    async def run() -> int:
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            return await do(connection, EventSerializer(KeyRing(settings.key_encryption_key)))
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except Refusal as problem:
        return say(problem)
