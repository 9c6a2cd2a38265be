"""Logging: one event name a line with its fields, as JSON for machines or as plain words in development.

Never logged: what people write, what they are called, tokens, secrets. The rule that keeps it: a field is a number or a
name of ours, and what others word never gets here whole. Of an exception its type and place are told, and its message
only where that speaks of connections and never of what travels over them; of a library's record its template. Should a
secret of the settings slip through all the same, it is blacked out.
"""

import json
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import asyncpg
import redis

from service.config.settings import Settings
from service.errors import OnRecordError

OURS = "onrecord"
LIBRARY = "library"
"""The event of a record that is not ours; `says` has its template."""

MAX_SAYS = 200
"""Characters told of what is not ours."""

MAX_CAUSES = 5

MOST_ALIKE = 20
"""Complaints of one event in a second."""

BLACK = "\u2588" * 3

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What these say is of addresses, states and permissions.
_SPEAKING = (OSError, redis.ConnectionError, redis.TimeoutError)
_BAD_VALUE = "22"
"""The class of SQLSTATE whose messages repeat the value (PostgreSQL documentation, appendix A)."""


class Limit(logging.Filter):
    """Lets of each complaint so many lines pass a second; the next that passes says how many did not.

    What goes wrong for one goes wrong for thousands at once, and who writes to Redis could have us fill the disk.
    """

    def __init__(self, most: int = MOST_ALIKE) -> None:
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

    def __init__(self, node: str, secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._node = node
        self._secrets = {form for secret in secrets for form in (secret, json.dumps(secret)[1:-1])}
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
            line["exception"] = "\n".join(_told(record.exc_info[1]))
        return _blackened(self._encode(line), self._secrets)


class PlainText(logging.Formatter):
    """A record for a person at a terminal."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and where something failed those that say where."""
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{at} {record.levelname.lower():7} {_event(record)} {fields}".rstrip()
        if record.exc_info and record.exc_info[1]:
            line = "\n".join((line, *_told(record.exc_info[1])))
        return _blackened(line, self._secrets)


def configure(settings: Settings, *, plain: bool) -> None:
    """Send all records to stderr, as words or as JSON lines; what ends the process is one of them."""
    secrets = settings.secret_texts()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainText(secrets) if plain else JsonLines(settings.node, secrets))
    handler.addFilter(Limit())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    _look_for_no_more_than_is_told()
    for library in ("uvicorn", "databases", "asyncio", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)
    if not plain:
        sys.excepthook = _crashed


def _look_for_no_more_than_is_told() -> None:
    """Have no record look for its caller, thread and process (logging HOWTO, "Optimization"): no line tells them."""
    logging._srcfile = None  # noqa: SLF001 - the documented switch
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def described(error: BaseException) -> str:
    """Return what may be told of an exception in one line."""
    name = type(error).__qualname__
    if isinstance(error, OnRecordError):
        return f"{name} {error.code}"
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        # The message alone: DETAIL, which the library adds to it, has values.
        message = "" if state.startswith(_BAD_VALUE) or not error.args else f": {_first_line(error.args[0])}"
        return f"{name} {state}{message}"
    if isinstance(error, _SPEAKING) or type(error) is asyncpg.InterfaceError:
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
        said = record.msg
        return {"says": described(said) if isinstance(said, BaseException) else _first_line(said)}
    return {
        name: described(value) if isinstance(value, BaseException) else value
        for name, value in vars(record).items()
        if name not in _STANDARD
    }


def _told(error: BaseException) -> Iterator[str]:
    """Yield what may be told of an exception, where it was, and what led to it, the last first."""
    following: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if following is None:
            return
        yield described(following)
        for frame in traceback.extract_tb(following.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} {frame.name}"
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _first_line(said: object) -> str:
    return str(said).strip().partition("\n")[0][:MAX_SAYS]


def _blackened(line: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        if secret in line:
            line = line.replace(secret, BLACK)
    return line
