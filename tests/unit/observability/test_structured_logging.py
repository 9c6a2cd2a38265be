"""A log line is a JSON object with names of ours in it; what others word does not get there."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
import redis

from service.config.settings import Settings
from service.errors import TokenInvalid, Unavailable
from service.observability.redaction import BLACK
from service.observability.structured_logging import (
    MAX_SAYS,
    JsonLines,
    Limit,
    PlainText,
    configure,
    described,
)

WORDS = "what somebody wrote"


def record(event: object, name: str = "onrecord.test", **fields: Any) -> logging.LogRecord:
    """Return a record as a logger makes it."""
    error = fields.pop("error", None)
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, event, (), info)
    vars(made).update(fields)
    return made


def line(event: object, name: str = "onrecord.test", **fields: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(JsonLines("here").format(record(event, name, **fields)))
    return parsed


def raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301 - the point
    except Exception as caught:  # noqa: BLE001 - with its traceback
        return caught


def test_a_line_has_the_event_the_node_and_the_fields() -> None:
    said = line("connected", session="s-1", count=3)
    assert said["event"] == "connected"
    assert said["node"] == "here"
    assert (said["session"], said["count"]) == ("s-1", 3)
    assert (said["level"], said["logger"]) == ("warning", "onrecord.test")
    assert said["at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(WORDS), "ValueError"),
        (asyncpg.DataError(f"invalid input for query argument $1: '{WORDS}'"), "DataError 22000"),
        (asyncpg.exceptions.ClientConfigurationError(f"invalid DSN {WORDS}"), "ClientConfigurationError"),
        (redis.ResponseError(f"unknown command, with args beginning with: {WORDS}"), "ResponseError"),
        (redis.ConnectionError("Error 111 at here:6379."), "ConnectionError: Error 111 at here:6379."),
        (TokenInvalid(problem=WORDS), "TokenInvalid token_invalid"),
        (Unavailable(), "Unavailable unavailable"),
        (TimeoutError(), "TimeoutError"),
        (ConnectionRefusedError(111, "Connect call failed"), "ConnectionRefusedError: [Errno 111] Connect call failed"),
    ],
)  # fmt: skip
def test_of_an_exception_only_that_is_told_which_speaks_of_connections(error: Exception, told: str) -> None:
    assert described(error) == told
    assert line("something", problem=error)["problem"] == told
    assert WORDS not in PlainText().format(record("something", problem=error))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("23505", "PostgresError 23505: duplicate key"),
        ("22P02", "PostgresError 22P02"),
        ("57P01", "PostgresError 57P01: duplicate key"),
    ],
)
def test_of_postgres_the_message_is_told_and_never_the_values(state: str, told: str) -> None:
    error = asyncpg.PostgresError("duplicate key")
    vars(error).update(sqlstate=state, detail=WORDS)  # as the library does
    assert WORDS in str(error)
    assert described(error) == told


def test_fault_is_logged_with_locations_and_causes_without_messages() -> None:
    cause = raised(ValueError(WORDS))
    error = RuntimeError(WORDS)
    error.__cause__ = cause
    told = line("command_failed", error=raised(error))["exception"]
    assert WORDS not in told
    assert [part for part in told.splitlines() if not part.startswith(" ")] == ["RuntimeError", "ValueError"]
    assert f"{__file__}:" in told


def test_of_a_library_the_template_is_told_and_not_what_it_put_in() -> None:
    made = record("cannot reach %s\nTask <%s>", "asyncio")
    made.args = (WORDS, WORDS)
    made.color_message = WORDS
    said = json.loads(JsonLines("here").format(made))
    assert (said["event"], said["says"]) == ("library", "cannot reach %s")
    assert WORDS not in json.dumps(said)
    assert line(OSError(98, "in use"), "uvicorn.error")["says"] == "OSError: [Errno 98] in use"


def test_what_ends_the_process_is_a_line_as_well() -> None:
    program = (
        "from service.observability import structured_logging as logs; from service.config.settings import Settings; "
        f"logs.configure(Settings(node='here'), plain=False); raise ValueError({WORDS!r})"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    said = json.loads(ended.stderr)
    assert (said["event"], said["level"], said["node"]) == ("crashed", "critical", "here")
    assert said["exception"].startswith("ValueError\n")
    assert WORDS not in ended.stderr


def test_a_secret_is_redacted_by_its_place_in_every_kind_of_line() -> None:
    url = "postgresql://user:p%22ss-word@here/db"
    error = redis.ConnectionError(f"cannot reach {url}")
    for told in (
        JsonLines("here").format(record("something", problem=error, error=raised(error))),
        PlainText().format(record("something", problem=error, error=raised(error))),
        PlainText().format(record(f"cannot reach {url}", "asyncio")),
    ):
        readable = told.replace(json.dumps(BLACK)[1:-1], BLACK)
        assert f"cannot reach postgresql://{BLACK}@here/db" in readable
        assert "ss-word" not in told


def test_a_secret_at_the_end_of_a_cut_text_is_redacted() -> None:
    url = f"{'x' * (MAX_SAYS - 20)} postgresql://user:{WORDS.replace(' ', '-')}@here/db"
    for told in (
        line(OSError(url), "asyncio")["says"],
        line("lost", problem=redis.ConnectionError(url))["problem"],
    ):
        assert "what-" not in told
        assert len(told) <= MAX_SAYS + len("ConnectionError: ")


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what `configure` changes of the process, so that later tests capture what they did before."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        if hasattr(logging, name):
            monkeypatch.setattr(logging, name, getattr(logging, name))
    loggers = [logging.getLogger(name) for name in ("root", "uvicorn", "databases", "asyncio", "httpx2")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("password", ["t", "e", '"', ":", "event", "1", "0"])
def test_a_short_password_changes_no_line(password: str) -> None:
    configure(Settings(node="here", database_url=f"postgresql://user:{password}@host/db"), plain=False)
    (handler,) = logging.root.handlers
    said = json.loads(handler.format(record("connected", session="s-1", count=10, user="te:st")))
    assert (said["event"], said["session"], said["count"], said["user"]) == ("connected", "s-1", 10, "te:st")
    assert BLACK not in handler.format(record("connected", session="s-1"))


def test_repeated_log_lines_are_limited_and_the_suppressed_are_counted() -> None:
    limit = Limit(most=2)
    made = [record("unavailable") for _ in range(5)]
    for one in made:
        one.created = 100.0
    assert [limit.filter(one) for one in made] == [True, True, False, False, False]
    other, later = record("not_ready"), record("unavailable")
    other.created, later.created = 100.0, 101.0
    assert limit.filter(other)
    assert limit.filter(later)
    assert vars(later)["not_logged"] == 3
    again = record("unavailable")
    again.created = 101.0
    assert limit.filter(again)
    assert "not_logged" not in vars(again)


def test_what_is_no_complaint_always_passes() -> None:
    limit = Limit(most=1)
    made = [logging.LogRecord("onrecord.door", logging.INFO, "", 0, "connected", (), None) for _ in range(9)]
    assert all(map(limit.filter, made))
