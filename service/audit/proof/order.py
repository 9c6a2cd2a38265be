"""Checks the order of the log: detects rows that `chat_append` cannot have written.

Invariant: positions start at 1, ascend, and do not exceed the last value of their sequence. Times never decrease by
position and are not ahead of the database's clock. Each stream is numbered 1, 2, 3 ... in log order.

A node's login cannot insert a row that violates this; the owner of the tables can. A row with a far position or time
would fix the time of all later events and hide them. Seals do not reveal it, since the sealer seals every row.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from service.audit.proof import leaf

if TYPE_CHECKING:
    import asyncpg

AHEAD = timedelta(minutes=1)
"""How far a time may be ahead of the clock: if the clock is set back, new events keep the newest time of the log."""


class OutOfOrder(Exception):
    """`chat_append` cannot have written the row at `position`; the message is the reason."""

    def __init__(self, position: int, problem: str) -> None:
        self.position = position
        super().__init__(problem)


class Bounds(NamedTuple):
    """The last position of the sequence, and the latest possible time in microseconds since 1970."""

    position: int
    at: int


async def bounds(connection: "asyncpg.Connection[Any]") -> Bounds:
    """Return the current bounds of the log; in a transaction, those of its snapshot.

    Raises:
        asyncpg.InsufficientPrivilegeError: the login may not read the sequence.
    """
    row = await connection.fetchrow(_BOUNDS, AHEAD)
    assert row is not None  # noqa: S101 - a sequence always has one row
    return Bounds(row["position"], leaf.microseconds(row["at"]))


async def check_streams(connection: "asyncpg.Connection[Any]") -> None:
    """Check the seqs of every stream, in one query.

    Raises:
        OutOfOrder: a stream has a gap, or its seqs are not in log order.
    """
    position = await connection.fetchval(_FIRST_MISNUMBERED)
    if position is not None:
        raise OutOfOrder(position, "the event here does not follow the previous event of its stream")


async def first_ahead(connection: "asyncpg.Connection[Any]") -> int | None:
    """Return the first position beyond its sequence, below 1, or with a time in the future; reads indexes only.

    Raises:
        asyncpg.InsufficientPrivilegeError: the login may not read the sequence.
    """
    latest = await bounds(connection)
    position: int | None = await connection.fetchval(_FIRST_AHEAD, latest.position, AHEAD)
    return position


class Order:
    """Checks the rows of the log one at a time, by position."""

    def __init__(self, latest: Bounds) -> None:
        self._latest = latest
        self._position = 0
        self._at = 0

    def check(self, position: int, at: int) -> None:
        """Check the next row; `at` is in microseconds since 1970.

        Raises:
            OutOfOrder: `chat_append` cannot have written the row.
        """
        if self._position < position <= self._latest.position and self._at <= at <= self._latest.at:
            self._position, self._at = position, at
            return
        raise OutOfOrder(position, self._problem(position, at))

    def _problem(self, position: int, at: int) -> str:
        if position > self._latest.position:
            return "the position of the event here was never assigned by its sequence"
        if position <= self._position:
            return "the position of the event here is not above the previous one"
        if at > self._latest.at:
            return "the event here is dated in the future"
        return "the event here is dated before the previous one"


_BOUNDS = """
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS position,
        timestamptz_send(clock_timestamp() + $1::interval) AS at
    FROM stored_events_notification_id_seq
"""
# Without OFFSET 0 the planner would search the index by position for the minimum, through the whole log.
_FIRST_AHEAD = """
    SELECT min(position) FROM (
        SELECT notification_id AS position FROM stored_events WHERE notification_id > $1
        UNION ALL
        SELECT notification_id FROM stored_events WHERE notification_id < 1
        UNION ALL
        (SELECT notification_id FROM stored_events WHERE recorded_at > clock_timestamp() + $2::interval OFFSET 0)) ahead
"""
_FIRST_MISNUMBERED = """
    SELECT min(position) FROM (
        SELECT notification_id AS position, lag(notification_id) OVER stream AS position_before,
            originator_version AS seq, lag(originator_version, 1, 0) OVER stream AS seq_before
        FROM stored_events WINDOW stream AS (PARTITION BY originator_id ORDER BY originator_version)) placed
    WHERE seq <> seq_before + 1 OR position <= position_before
"""
