"""Retries reads while the database fails with a transient error, and limits how long a connection may be used.

A restarted database leaves dead connections in every pool, and the next use of each fails although the database is
back. Reads are therefore retried until their deadline; appends have rules of their own (`service.eventstore.appender`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

PAUSE = 0.05
"""Seconds between two tries."""

TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises if a call fails. `TimeoutError` is an `OSError`."""

# Classes of SQLSTATE after which the same call may succeed: connection lost, rolled back, out of resources, lock not
# available, operator intervention; and a server that is read-only, as after a failover (PostgreSQL documentation,
# appendix A).
_TRANSIENT = ("08", "40", "53", "55", "57", "25006")
# The server refuses the login, or does not know the database: an operator may have changed a password or a name.
_REJECTED = ("28", "3D")

log = logging.getLogger("onrecord.log")


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed later on another connection."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith(_TRANSIENT + _REJECTED)
    return isinstance(error, TROUBLE)


def is_rejected(error: BaseException) -> bool:
    """Return whether the server refuses the login or the database: at a start a wrong setting, later an outage."""
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "").startswith(_REJECTED)


@contextmanager
def hard_timeout(
    connection: "asyncpg.Connection[Any]", seconds: float
) -> "Iterator[Callable[[float], None]]":
    """Terminate a connection, and every call that uses it, after so many seconds.

    Yields a function that sets a new deadline, in seconds from its call.
    """
    # This ends every wait on the connection, even a rollback, where cancelling would wait for the server.
    loop = asyncio.get_running_loop()
    timer = loop.call_later(seconds, connection.terminate)

    def allow(more: float) -> None:
        nonlocal timer
        timer.cancel()
        timer = loop.call_later(more, connection.terminate)

    try:
        yield allow
    finally:
        timer.cancel()


async def retry_read(read: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Return the result of `read`, which must be idempotent; retry it after a transient error.

    Raises:
        Unavailable: no try succeeded within `seconds`.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(until):
                return await read()
        except TROUBLE as error:
            if not is_transient(error):
                raise
            if loop.time() + PAUSE >= until:
                log.warning("unavailable", extra={"problem": error})
                raise Unavailable from error
            await asyncio.sleep(PAUSE)
