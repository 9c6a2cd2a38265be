"""The order of the log: which positions and times `chat_append` gives, and which rows it cannot have made.

Invariant: positions begin at 1, rise, and end at the last number that their sequence has given out. Times never go back
by position and are not in the future of the database's clock. Each stream is numbered 1, 2, 3 ... in that order.

A node's login cannot insert such a row, and the owner of the tables can. A row far ahead would date and hide all that
is appended after it. Seals do not tell, since the sealer seals whatever stands in the log.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from service.audit.proof import leaf

if TYPE_CHECKING:
    import asyncpg

AHEAD = timedelta(minutes=1)
"""How far a time may be ahead of the clock: where a clock is set back, the log waits for it with its newest time."""


class OutOfOrder(Exception):
    """The row at `position` is not one that `chat_append` has made; the message says why."""

    def __init__(self, position: int, problem: str) -> None:
        self.position = position
        super().__init__(problem)


class Bounds(NamedTuple):
    """The last number of the sequence, and the latest time that an event can have, in microseconds since 1970."""

    position: int
    at: int


async def bounds(connection: "asyncpg.Connection[Any]") -> Bounds:
    """Return the bounds of what the log can hold now; in a transaction, of what its snapshot can hold.

    Raises:
        asyncpg.InsufficientPrivilegeError: this login may not read the sequence.
    """
    row = await connection.fetchrow(_BOUNDS, AHEAD)
    assert row is not None  # noqa: S101 - it selects no table that could be empty
    return Bounds(row["position"], leaf.microseconds(row["at"]))


async def check_streams(connection: "asyncpg.Connection[Any]") -> None:
    """Check the numbers of every stream, in the database, which answers with one number.

    Raises:
        OutOfOrder: a number is missing in a stream, or its events stand in another order.
    """
    astray = await connection.fetchval(_ASTRAY)
    if astray is not None:
        raise OutOfOrder(astray, "the event here does not follow the one before it in its stream")


async def first_ahead(connection: "asyncpg.Connection[Any]") -> int | None:
    """Return the first position that its sequence has not given out, or whose time is in the future; by index alone.

    Raises:
        asyncpg.InsufficientPrivilegeError: this login may not read the sequence.
    """
    latest = await bounds(connection)
    position: int | None = await connection.fetchval(_FIRST_AHEAD, latest.position, AHEAD)
    return position


class Order:
    """Checks the rows of the log one by one, by position."""

    def __init__(self, latest: Bounds) -> None:
        self._latest = latest
        self._position = 0
        self._at = 0

    def check(self, position: int, at: int) -> None:
        """Check the next row; `at` is in microseconds since 1970.

        Raises:
            OutOfOrder: see there.
        """
        if self._position < position <= self._latest.position and self._at <= at <= self._latest.at:
            self._position, self._at = position, at
            return
        raise OutOfOrder(position, self._problem(position, at))

    def _problem(self, position: int, at: int) -> str:
        if position > self._latest.position:
            return "the position of the event here was never given out by its sequence"
        if position <= self._position:
            return "the position of the event here is not above the one before it"
        if at > self._latest.at:
            return "the event here is dated in the future"
        return "the event here is dated before the one that it follows"


_BOUNDS = """
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS position,
        timestamptz_send(clock_timestamp() + $1::interval) AS at
    FROM stored_events_notification_id_seq
"""
# Without OFFSET 0 the least position would be looked for along the index by position, through the whole log.
_FIRST_AHEAD = """
    SELECT min(position) FROM (
        SELECT notification_id AS position FROM stored_events WHERE notification_id > $1
        UNION ALL
        SELECT notification_id FROM stored_events WHERE notification_id < 1
        UNION ALL
        (SELECT notification_id FROM stored_events WHERE recorded_at > clock_timestamp() + $2::interval OFFSET 0)) ahead
"""
_ASTRAY = """
    SELECT min(position) FROM (
        SELECT notification_id AS position, lag(notification_id) OVER stream AS position_before,
            originator_version AS seq, lag(originator_version, 1, 0) OVER stream AS seq_before
        FROM stored_events WINDOW stream AS (PARTITION BY originator_id ORDER BY originator_version)) placed
    WHERE seq <> seq_before + 1 OR position <= position_before
"""
