"""Connections of commands to the log, and the name under which the log records what a command does."""

import argparse
import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any

from service.audit.history.names import Titles
from service.cli.output import complain, form_of
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.errors import Refusal
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.connections import connector
from service.eventstore.readiness import check_schema
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import TROUBLE

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any]

Command = Callable[[Settings, argparse.Namespace], int]
LogCommand = Callable[
    [Settings, argparse.Namespace, "Connection", EventSerializer], Coroutine[Any, Any, int | None]
]


@asynccontextmanager
async def connected(settings: Settings, url: str | None = None) -> AsyncIterator["Connection"]:
    """Connect to `url`; default: as the application's login.

    Raises:
        SchemaOutdated: the schema is not the one that this program needs.
    """
    connection = await connector(settings, url or settings.session_url).connect()
    try:
        await check_schema(connection)
        yield connection
    finally:
        connection.terminate()  # an orderly close would wait for an interrupted query


async def require_session(settings: Settings, url: str) -> None:
    """Check that an address leads to a session; a server that does not answer now is left to the caller.

    Raises:
        NoSession: it leads to a pooler in transaction mode.
    """
    with suppress(*TROUBLE):
        async with asyncio.timeout(settings.database_timeout):
            await connector(settings, url).require_session()


def serializer_of(settings: Settings) -> EventSerializer:
    """Return a serializer with the keys of the settings."""
    return EventSerializer(KeyRing(settings.key_encryption_key))


def on_log(work: LogCommand) -> Command:
    """Make a command of a coroutine that needs a connection; its exit code is 0 for None, 1 for a refusal."""

    async def connect_and_run(settings: Settings, args: argparse.Namespace) -> int:
        async with connected(settings) as connection:
            return await work(settings, args, connection, serializer_of(settings)) or 0

    @wraps(work)
    def run(settings: Settings, args: argparse.Namespace) -> int:
        try:
            return asyncio.run(connect_and_run(settings, args))
        except Refusal as problem:
            return complain(problem)

    return run


def titles(
    args: argparse.Namespace, connection: "Connection", serializer: EventSerializer, settings: Settings
) -> Titles:
    """Return the names for the text of a command; JSON has ids alone, so nothing is looked up for it."""
    needed = form_of(args) == "text"
    return Titles(AsOfReader(connection, serializer, settings.database_timeout) if needed else None)


def operator(settings: Settings) -> str:
    """Return the name of the operator who runs a command, in a form that no user id has.

    The machine vouches for the operating system's user, but several people may share it (`root`, a container's user).
    `ONRECORD_OPERATOR` distinguishes them; the name then has both: `os:root/ann`.
    """
    user = str(os.getuid())
    with suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
    return f"os:{user}/{settings.operator}" if settings.operator else f"os:{user}"
