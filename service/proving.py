"""What the commands about the proof run, put together from the parts; beside `service.app`, under the same rule."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.audit import seal_keys, seals
from service.audit.sealer import Sealer
from service.audit.verify import Tampered, verify
from service.settings import Settings

SEAL_WITHIN = 30.0
"""Seconds that one of the sealer's calls may take."""

_NOTHING = "Nothing is sealed yet; is `onrecord project run` running?"


def sealer(settings: Settings) -> Sealer:
    """Return the sealer, to be kept running beside the projector."""
    return Sealer(
        lambda: asyncpg.connect(
            settings.database_url, timeout=settings.database_timeout, command_timeout=SEAL_WITHIN
        ),
        settings.key_encryption_key,
        settings.catchup_interval,
    )


def run_checkpoint(settings: Settings) -> int:
    """`onrecord audit checkpoint`: the newest checkpoint; 1 where nothing was sealed."""

    async def run() -> int:
        async with _connection(settings) as connection:
            keys = await seal_keys.load(connection, settings.key_encryption_key)
            newest = await seals.newest(connection, keys)
        return _print(newest.note) if newest else _say(_NOTHING)

    return _found(run())


def run_keys(settings: Settings, *, rotate: bool) -> int:
    """`onrecord audit keys`: the vkey of each key that signs or signed, the newest last; 1 where there is none."""

    async def run() -> int:
        async with _connection(settings) as connection:
            if rotate:
                await seal_keys.rotate(connection, settings.key_encryption_key)
            keys = await seal_keys.load(connection, settings.key_encryption_key)
        return _print("".join(f"{key.verifier}\n" for key in keys)) if keys else _say(_NOTHING)

    return _found(run())


def run_verify(settings: Settings, against: str | None) -> int:
    """`onrecord audit verify`: `ok SIZE`, or `bad POSITION` and 1."""

    async def run() -> int:
        async with _connection(settings) as connection:
            try:
                verified = await verify(connection, settings.key_encryption_key, against)
            except Tampered as found:
                _print(f"bad {found.position}\n")
                return _say(f"Position {found.position}: {found}.")
        if verified.unsealed:
            _say(f"{verified.unsealed} events after them are not sealed yet.")
        return _print(f"ok {verified.size}\n")

    return _found(run())


def _found(main: Coroutine[Any, Any, int]) -> int:
    """Run a command; 1 and a sentence where what it asks for is not there, or is not what was sealed."""
    try:
        return asyncio.run(main)
    except (seals.NotSealed, seal_keys.SealKeyInvalid) as problem:
        return _say(str(problem))


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
    try:
        yield connection
    finally:
        connection.terminate()


def _print(text: str) -> int:
    sys.stdout.buffer.write(text.encode())  # UTF-8 whatever the locale
    sys.stdout.buffer.flush()
    return 0


def _say(words: str) -> int:
    print(words, file=sys.stderr)  # noqa: T201 - a command's words
    return 1
