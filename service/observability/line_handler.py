"""Writes log lines to a stream in batches.

A connection has two lines, and a write for each of them was a tenth of its cost. Lines below WARNING therefore wait up
to `DELAY` seconds for others; a process that is killed loses those.

Invariant: lines are written in the order in which they were logged, and at the latest when the process exits.
"""

import asyncio
import logging
from typing import TextIO

DELAY = 0.05
"""Seconds that a line may wait."""

MOST = 200
"""Lines that wait."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines from WARNING up at once, with those that wait, and all lines while no event loop runs."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._timed_by: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`, which holds the lock during the call."""
        try:
            self._lines.append(self.format(record) + self.terminator)
            if record.levelno >= logging.WARNING or len(self._lines) >= MOST or not self._may_wait():
                self.flush()
        except RecursionError:  # as in `logging.StreamHandler`
            raise
        except Exception:  # noqa: BLE001 - `logging` reports it
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that wait; `logging` calls this when the process exits."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(lines))
            super().flush()
        finally:
            self.release()

    def _may_wait(self) -> bool:
        """Return whether a timer will write the lines; start it if necessary."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._timed_by is not loop:
            self._timed_by = loop
            loop.call_later(DELAY, self._due)
        return True

    def _due(self) -> None:
        self._timed_by = None
        self.flush()
