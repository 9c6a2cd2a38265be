"""Structured logging: an event name with fields per line, as JSON or, in development, as plain text.

Invariant: message content, display names, tokens and secrets are never logged. A field is a number or an identifier.
Of an exception the type and the location are logged; its message only if it describes a connection, which is never the
data sent over it. Of a library's record the template is logged, without its arguments. A secret that appears anyway is
redacted by its place (`service.observability.redaction`).
"""

import json
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import asyncpg
import redis

from service.config.settings import Settings
from service.errors import OnRecordError
from service.observability.line_handler import LineHandler
from service.observability.redaction import redacted, redacted_text

OURS = "onrecord"
LIBRARY = "library"
"""The event of a library's record; its field `says` has the template."""

MAX_SAYS = 200
"""Characters logged of a text that is not OnRecord's own."""

MAX_READ = 4_096
"""Characters of such a text that are looked at."""

MAX_CAUSES = 5

MAX_PER_SECOND = 20
"""Records of one event, from WARNING up, that are logged per second."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# The messages of these exceptions describe addresses, states and permissions.
_ABOUT_CONNECTIONS = (OSError, redis.ConnectionError, redis.TimeoutError)
_BAD_VALUE = "22"
"""The SQLSTATE class "data exception", whose messages repeat the value (PostgreSQL documentation, appendix A)."""


class Limit(logging.Filter):
    """Limits the warnings and errors of an event per second; the next one logged has the number of those withheld.

    A fault often affects thousands of connections at once, and a client of Redis could otherwise fill the disk.
    """

    def __init__(self, most: int = MAX_PER_SECOND) -> None:
        super().__init__()
        self._most = most
        self._second = 0
        self._passed: Counter[str] = Counter()
        self._withheld: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes."""
        if record.levelno < logging.WARNING:
            return True
        if int(record.created) != self._second:
            self._second = int(record.created)
            self._passed.clear()
        event = _event(record)
        self._passed[event] += 1
        if self._passed[event] > self._most:
            self._withheld[event] += 1
            return False
        if withheld := self._withheld.pop(event, 0):
            record.not_logged = withheld
        return True


class JsonLines(logging.Formatter):
    """A record as one JSON object: `at`, `level`, `logger`, `event`, `node`, then its fields."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node
        self._encode = json.JSONEncoder(default=str).encode

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            "node": self._node,
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = "\n".join(_traceback(record.exc_info[1]))
        return self._encode(line)


class PlainText(logging.Formatter):
    """A record as a line of text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of a traceback if there is one."""
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{at} {record.levelname.lower():7} {_event(record)} {fields}".rstrip()
        if record.exc_info and record.exc_info[1]:
            line = "\n".join((line, *_traceback(record.exc_info[1])))
        return line


def configure(settings: Settings, *, plain: bool) -> None:
    """Log all records to stderr, as plain text or as JSON lines; the latter includes an uncaught exception."""
    handler = LineHandler(sys.stderr)
    handler.setFormatter(PlainText() if plain else JsonLines(settings.node))
    handler.addFilter(Limit())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Records do not look up caller, thread and process, which are not logged (logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001 - the documented switch
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for library in ("uvicorn", "databases", "asyncio", "httpx2", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
    if not plain:
        sys.excepthook = _crashed


def described(error: BaseException) -> str:
    """Return the loggable description of an exception, in one line."""
    name = type(error).__qualname__
    if isinstance(error, OnRecordError):
        return f"{name} {error.code}"
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        # The message alone: DETAIL, which the library appends, contains values.
        message = "" if state.startswith(_BAD_VALUE) or not error.args else f": {_first_line(error.args[0])}"
        return f"{name} {state}{message}"
    if isinstance(error, _ABOUT_CONNECTIONS) or type(error) is asyncpg.InterfaceError:
        return f"{name}: {_first_line(error)}".removesuffix(": ")
    return name


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger(OURS).critical("crashed", exc_info=(kind, error, trace))


def _event(record: logging.LogRecord) -> str:
    return str(record.msg) if _is_ours(record) else LIBRARY


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] == OURS


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if not _is_ours(record):
        template = record.msg
        return {"says": described(template) if isinstance(template, BaseException) else _first_line(template)}
    return {
        name: redacted(name, described(value) if isinstance(value, BaseException) else value)
        for name, value in vars(record).items()
        if name not in _STANDARD
    }


def _traceback(error: BaseException) -> Iterator[str]:
    """Yield the lines that describe an exception, its frames and its causes, newest first."""
    following: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if following is None:
            return
        yield described(following)
        for frame in traceback.extract_tb(following.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} {frame.name}"
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _first_line(text: object) -> str:
    # Redacted before it is cut, since a secret is known by what follows it.
    return redacted_text(str(text).strip().partition("\n")[0][:MAX_READ])[:MAX_SAYS]
