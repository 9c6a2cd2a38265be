"""The commands: words in, one call, words out.

The rule: output for machines goes to stdout and words for people to stderr. A command ends with 0 (done), 1 (a check
found something), 2 (wrong usage or settings) or 3 (a server could not be reached), and what is in the way is said in
one sentence, before anything is started.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from service.cli.arguments import parser
from service.cli.commands import WrongUsage
from service.development import DataDirUnusable
from service.settings import SettingsInvalid

DONE, FOUND, WRONG, UNREACHABLE = 0, 1, 2, 3
INTERRUPTED = 130  # what a shell reports of a command that Ctrl-C ended


class Stopped(BaseException):
    """Somebody asked this process to stop: SIGTERM, or its terminal is gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    args = parser().parse_args(arguments)
    try:
        with stoppable():
            code: int = args.run(args)
            return code
    except (WrongUsage, SettingsInvalid, DataDirUnusable) as problem:
        return _say(WRONG, problem)
    except (KeyboardInterrupt, Stopped):
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
    """The exit code and sentence of what the libraries underneath raise; None for what is a fault of ours."""
    import asyncpg
    import psycopg
    import redis

    from service.embedded.failures import EmbeddedFailed, ServerDidNotStart
    from service.errors import Unavailable

    if isinstance(problem, EmbeddedFailed):
        return (UNREACHABLE if isinstance(problem, ServerDidNotStart) else WRONG), str(problem)
    unreachable: tuple[type[Exception], ...] = (
        Unavailable,
        ConnectionError,
        TimeoutError,
        socket.gaierror,
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        psycopg.OperationalError,
        redis.ConnectionError,
    )
    # asyncio reports several failed addresses of one host as a plain OSError without a number.
    if isinstance(problem, unreachable) or (type(problem) is OSError and problem.errno is None):
        return UNREACHABLE, f"A server could not be reached: {str(problem).strip() or type(problem).__name__}"
    return None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the command as Ctrl-C does, so that what it started is stopped."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
