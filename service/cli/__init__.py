"""The commands: words in, one call, words out.

The rule: output for machines goes to stdout and words for people to stderr. A command ends with 0 (done), 1 (a check
found something), 2 (wrong usage or settings) or 3 (a server could not be reached), and what is in the way is said in
one sentence, before anything is started.
"""

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from service.cli.arguments import parser
from service.cli.commands import WrongUsage
from service.config.development import DataDirUnusable
from service.config.environment import SettingsInvalid

DONE, FOUND, WRONG, UNREACHABLE = 0, 1, 2, 3
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    args = parser().parse_args(arguments)
    try:
        with stoppable():
            code: int = args.run(args)
            return code
    except (WrongUsage, SettingsInvalid, DataDirUnusable) as problem:
        return _say(WRONG, problem)
    except KeyboardInterrupt:
        return DONE if args.lasts else INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough: `onrecord audit replay ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as problem:
        if (code_and_words := _known(problem)) is None:
            raise
        return _say(*code_and_words)


def _say(code: int, words: object) -> int:
    print(words, file=sys.stderr)
    return code


def _known(problem: Exception) -> tuple[int, str] | None:
    """The exit code and sentence of a situation that is the operator's; None for what is a fault of ours."""
    import asyncpg
    import psycopg
    import redis
    import sqlalchemy.exc
    from cryptography.exceptions import InvalidTag

    from migrations.run import ForeignObjects
    from service.audit.access_log import NotRecorded
    from service.config.development import EmbeddedFailed, ServerDidNotStart
    from service.errors import Unavailable
    from service.eventstore.readiness import SchemaOutdated, UnsafeDurability

    if isinstance(problem, sqlalchemy.exc.DBAPIError) and isinstance(problem.orig, Exception):
        problem = problem.orig  # what the driver said, without the page about SQLAlchemy
    if isinstance(problem, InvalidTag):
        return FOUND, (
            "Words on the record cannot be opened: they or their key were changed, or ONRECORD_KEY_ENCRYPTION_KEY is "
            "another one. Run `onrecord audit verify --words` and `onrecord keys status`."
        )
    if isinstance(problem, OSError) and problem.errno in _NO_ROOM:
        words = f"What was asked for cannot be written: {problem.strerror}. An export that is asked for again goes on."
        return FOUND, words
    if isinstance(problem, ServerDidNotStart):
        return UNREACHABLE, str(problem)
    if isinstance(problem, (EmbeddedFailed, ForeignObjects, NotRecorded, SchemaOutdated, UnsafeDurability)):
        return WRONG, str(problem)
    unreachable = (
        *(Unavailable, ConnectionError, TimeoutError, socket.gaierror),
        *(asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError),
        *(asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError),
        *(psycopg.OperationalError, redis.ConnectionError),
    )
    # asyncio reports several failed addresses of one host as a plain OSError without a number.
    if isinstance(problem, unreachable) or (type(problem) is OSError and problem.errno is None):
        words = " ".join(str(problem).split()) or type(problem).__name__
        return UNREACHABLE, f"A server could not be reached: {words}"
    return None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP do what Ctrl-C does, so that there is one way to stop, and what was started is stopped.

    A shell starts background jobs with SIGINT ignored; here it is heard again. Under `nohup` SIGHUP stays ignored.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
