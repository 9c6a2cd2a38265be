"""What every client sent and received, in order: the checker's only input besides the log.

Times are seconds on one monotonic clock, since the history began; all are different. An operation is placed
at its start, a delivery at its receipt. A history can be saved and checked again, so nothing
in it refers to a running process.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

Op = Literal["connect", "send", "join", "leave", "history"]
Outcome = Literal["ok", "refused", "unknown"]

_STEP = 1e-7
"""Seconds between two records at least; a float of this size distinguishes them for weeks."""


class _Record(msgspec.Struct, kw_only=True, tag_field="record", tag=str.lower, omit_defaults=True):
    """A line of the file."""


class Said(msgspec.Struct, array_like=True, frozen=True):
    """A message in a page of history."""

    seq: int
    user: str
    content: str | None
    at: str


class Head(msgspec.Struct, omit_defaults=True, rename="camel"):
    """A room in `connected`."""

    recovered: bool
    head: int | None = None
    reason: str | None = None


class Operation(_Record):
    """One try of one command on one connection.

    `unknown` means that the connection was lost or timed out before the answer; the next try with the same `ref` is a
    separate operation. `seq`, `at` and `head` are from the ack, `page` and `more` from the answer to a history command.
    """

    process: str
    user: str
    connection: str
    node: int
    op: Op
    invoked: float
    room: str = ""
    ref: str = ""
    content: str | None = None
    cursors: dict[str, int | None] = {}
    after: int | None = None
    before: int | None = None
    limit: int = 0
    completed: float | None = None
    outcome: Outcome = "unknown"
    code: str = ""
    retryable: bool = False
    seq: int = 0
    at: str = ""
    head: int = 0
    heads: dict[str, Head] = {}
    page: list[Said] = []
    more: bool = False


class Delivery(_Record):
    """An event of a room's order, as a connection received it; `user` is its author, or its subject."""

    connection: str
    time: float
    room: str
    seq: int
    type: str
    user: str | None = None
    content: str | None = None
    ref: str | None = None
    at: str = ""


class Snapshot(_Record):
    """The page of history that follows the ack of a join."""

    connection: str
    time: float
    room: str
    page: list[Said]
    more: bool


class Closed(_Record):
    """A connection's end, with its close code (1006: no close frame)."""

    connection: str
    time: float
    code: int


class Silence(_Record):
    """A period without any send: a client connected throughout must have received every earlier event."""

    began: float
    ended: float


class Fault(_Record):
    """A fault with its start and end, for readers of the file."""

    name: str
    began: float
    ended: float


class Logged(_Record):
    """An event in the log at the end; `user` is its author, or its subject."""

    room: str
    seq: int
    type: str
    by: str
    at: str
    user: str | None = None
    content: str | None = None
    ref: str | None = None


Record = Operation | Delivery | Snapshot | Closed | Silence | Fault | Logged


class History:
    """Records, in the order of their start."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = list(records)
        self._began = time.monotonic()
        self._last = 0.0

    def now(self) -> float:
        """Return the time, later than every time returned before."""
        self._last = max(time.monotonic() - self._began, self._last + _STEP)
        return self._last

    def add(self, record: Record) -> None:
        """Add a record. An operation is added when it starts, and completed when it is answered."""
        self.records.append(record)

    def save(self, path: Path) -> None:
        """Write the history to a file, a JSON object a line."""
        encoder = msgspec.json.Encoder()
        path.write_bytes(b"".join(encoder.encode(record) + b"\n" for record in self.records))


def load(path: Path) -> History:
    """Return the history in a file.

    Raises:
        msgspec.DecodeError: the file contains no history.
        OSError: the file cannot be read.
    """
    decoder = msgspec.json.Decoder(Record)
    return History(decoder.decode(line) for line in path.read_bytes().splitlines())
