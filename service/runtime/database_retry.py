"""When the database does not answer: which errors pass, and reading on until they have.

A restarted database leaves dead connections in every pool, and whoever draws one next gets an error though the database
is well again. So reads are tried again until their deadline; appends have their own rule
(`service.eventstore.appender`).
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
"""What asyncpg raises where a call has failed. `TimeoutError` is an `OSError`."""

# Classes of SQLSTATE after which the same call may succeed: connection lost, rolled back, out of resources, lock not
# available, operator intervention (PostgreSQL documentation, appendix A).
_PASSING = ("08", "40", "53", "55", "57")

log = logging.getLogger("onrecord.log")


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed on another connection, a little later."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "")[:2] in _PASSING
    return isinstance(error, TROUBLE)


@contextmanager
def hard_timeout(
    connection: "asyncpg.Connection[Any]", seconds: float
) -> "Iterator[Callable[[float], None]]":
    """Give up what is done over a connection, and the connection with it, after so many seconds.

    Gives what allows it so many more from then on.
    """
    # Cutting the connection ends whatever waits on it, even a rollback, where cancelling would wait for the server.
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
    """Return what `read`, which may be done twice, answers; it is tried again while its trouble passes.

    Raises:
        Unavailable: there was no answer within `seconds`.
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
