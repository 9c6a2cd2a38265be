"""Lines are written in batches, in order, and none is lost."""

import asyncio
import io
import logging

import pytest

from service.observability.line_handler import MOST, LineHandler


def handler() -> tuple[LineHandler, io.StringIO]:
    written = io.StringIO()
    return LineHandler(written), written


def emit(to: LineHandler, text: str, level: int = logging.INFO) -> None:
    to.handle(logging.LogRecord("onrecord.test", level, __file__, 1, text, (), None))


def test_a_line_is_written_at_once_without_an_event_loop() -> None:
    lines, written = handler()
    emit(lines, "one")
    assert written.getvalue() == "one\n"


async def test_lines_wait_for_others_and_are_written_by_a_timer() -> None:
    lines, written = handler()
    for text in ("one", "two"):
        emit(lines, text)
    assert not written.getvalue()
    while not written.getvalue():
        await asyncio.sleep(0.01)
    assert written.getvalue() == "one\ntwo\n"
    emit(lines, "three")
    while not written.getvalue().endswith("three\n"):
        await asyncio.sleep(0.01)


async def test_a_warning_is_written_at_once_after_the_lines_before_it() -> None:
    lines, written = handler()
    emit(lines, "one")
    emit(lines, "two", logging.WARNING)
    assert written.getvalue() == "one\ntwo\n"


async def test_a_bounded_number_of_lines_waits() -> None:
    lines, written = handler()
    for number in range(MOST):
        emit(lines, str(number))
    assert len(written.getvalue().splitlines()) == MOST


def test_lines_of_a_loop_that_has_ended_are_written_at_the_exit() -> None:
    lines, written = handler()

    async def log() -> None:
        emit(lines, "one")

    asyncio.run(log())
    lines.flush()  # as `logging.shutdown` does
    assert written.getvalue() == "one\n"
    asyncio.run(log())
    lines.flush()
    assert written.getvalue() == "one\none\n"


def test_a_stream_that_cannot_be_written_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    lines, written = handler()
    written.close()
    emit(lines, "one")
    assert "ValueError" in capsys.readouterr().err
