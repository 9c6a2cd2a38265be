"""The commands. One module per group of commands; `arguments` names the function that runs each.

Invariant: stdout has output for machines, stderr has messages for people. A command ends with 0 (done), 1 (a check
found a problem), 2 (wrong usage or settings) or 3 (a server could not be reached). Wrong usage and settings are
reported before anything is started; every failure that the operator can solve is reported in one sentence.
"""

import contextlib
import errno
import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from service.cli.arguments import parser
from service.cli.preconditions import WrongUsage
from service.config.development import DataDirUnusable
from service.config.environment import SettingsInvalid

DONE, FOUND, WRONG, UNREACHABLE = 0, 1, 2, 3
INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = parser().parse_args(arguments)
    try:
        with stoppable():
            settings = args.check(args)
            module, _, name = args.function.partition(":")
            code: int = getattr(importlib.import_module(f"{__name__}.{module}"), name)(settings, args)
            return code
    except (WrongUsage, SettingsInvalid, DataDirUnusable) as problem:
        return _report(WRONG, problem)
    except KeyboardInterrupt:
        return DONE if args.lasts else INTERRUPTED
    except BrokenPipeError:  # the reader of the output has closed it: `onrecord audit replay ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as problem:
        if (known := _explain(problem)) is None:
            raise
        return _report(*known)


def _report(code: int, message: object) -> int:
    print(message, file=sys.stderr)
    return code


def _explain(problem: Exception) -> tuple[int, str] | None:
    """Return the exit code and message of a problem that the operator can solve; None for a fault of the program."""
    import asyncpg
    import psycopg
    import redis
    import sqlalchemy.exc
    from cryptography.exceptions import InvalidTag

    from migrations.privileges import PrivilegesMissing
    from migrations.roles import PrivilegeMissing, RolesDiffer
    from migrations.run import ForeignObjects
    from service.audit.access_log import NotRecorded
    from service.config.development import EmbeddedFailed, ServerDidNotStart
    from service.encryption.keys_in_use import KeyEncryptionKeyMissing
    from service.errors import Unavailable
    from service.eventstore.connections import NoSession
    from service.eventstore.readiness import SchemaOutdated, UnsafeDurability

    if isinstance(problem, sqlalchemy.exc.DBAPIError) and isinstance(problem.orig, Exception):
        problem = problem.orig  # the driver's error, without SQLAlchemy's additions
    if isinstance(problem, InvalidTag):
        return FOUND, (
            "Content on the record cannot be decrypted: the content, its key or ONRECORD_KEY_ENCRYPTION_KEY was "
            "changed. Run `onrecord audit verify --words` and `onrecord keys status`."
        )
    if isinstance(problem, OSError) and problem.errno in _NO_SPACE:
        message = f"The output cannot be written: {problem.strerror}."
        return FOUND, f"{message} To resume an export, run the same command again."
    if isinstance(problem, ServerDidNotStart):
        return UNREACHABLE, str(problem)
    wrong = (
        *(EmbeddedFailed, ForeignObjects, KeyEncryptionKeyMissing, NoSession, NotRecorded),
        *(PrivilegeMissing, PrivilegesMissing, RolesDiffer, SchemaOutdated, UnsafeDurability),
    )
    denied = (asyncpg.InsufficientPrivilegeError, psycopg.errors.InsufficientPrivilege)
    if isinstance(problem, (*wrong, *denied)):
        return WRONG, _denied(problem) if isinstance(problem, denied) else str(problem)
    unreachable = (
        *(Unavailable, ConnectionError, TimeoutError, socket.gaierror),
        *(asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError),
        *(asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError),
        *(asyncpg.ReadOnlySQLTransactionError, psycopg.errors.ReadOnlySqlTransaction),
        *(psycopg.OperationalError, redis.ConnectionError),
    )
    # asyncio reports several failed addresses of one host as a plain OSError without a number.
    if isinstance(problem, unreachable) or (type(problem) is OSError and problem.errno is None):
        message = " ".join(str(problem).split()) or type(problem).__name__
        return UNREACHABLE, f"A server could not be reached: {message}"
    return None


def _denied(problem: Exception) -> str:
    """Return the database's refusal as a sentence; PostgreSQL names the object and not the privilege."""
    words = " ".join(str(problem).split()).rstrip(".")
    if "permission denied for database" in words:
        advice = "GRANT CONNECT ON this DATABASE to it, as its owner; `onrecord migrate` does not"
    else:
        advice = (
            "`onrecord doctor` names the privileges that the logins lack, and `onrecord migrate` grants them"
        )
    return f"The database refuses this command's login: {words}: {advice}."


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that there is one way to stop, and what was started is stopped.

    A shell starts background jobs with SIGINT ignored; here it works again. Under `nohup` SIGHUP stays ignored.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
