"""The analyst's views and the activity counts."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

from service.domain.events import MessagePosted, Recorded
from service.domain.streams import room_of

Row = tuple[date, str, str, int, datetime, datetime]


def counted(log: Sequence[Recorded]) -> list[Row]:
    """Return the expected rows of the table, computed in a slow and obvious way."""
    posted = [
        (recorded.at.astimezone(UTC).date(), room_of(recorded.stream), recorded.event.author, recorded.at)
        for recorded in log
        if isinstance(recorded.event, MessagePosted)
    ]
    return [
        (*key, number, min(times), max(times))
        for key, number in sorted(Counter(one[:3] for one in posted).items())
        if (times := [one[3] for one in posted if one[:3] == key])
    ]


VIEWS = ("messages", "memberships", "read_receipts", "rooms", "daily_activity", "people", "daily_totals")
