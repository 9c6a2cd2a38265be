"""Retention: the scopes of the keys that encrypt the messages of a room with a time limit.

In such a room each person has one key for each day (UTC) on which they post, named by a *scope* such as
`general/2026-11-27`. Destroying it leaves all their other text readable. Without a time limit, and for names, topics
and reasons everywhere, the scope is empty: that is the person's key for all text.
"""

from datetime import UTC, date, datetime, timedelta

from service.domain.commands import EditMessage, PostMessage, RoomCommand
from service.domain.room_state import RoomState

ALL_TEXT = ""
"""The scope of a person's key for all text."""


def scope_of(state: RoomState, command: RoomCommand, at: datetime) -> str:
    """Return the scope of the key that encrypts the personal text of a command."""
    if state.retention is None or not isinstance(command, PostMessage | EditMessage):
        return ALL_TEXT
    return scope(state.room, at.astimezone(UTC).date())


def scope(room: str, day: date) -> str:
    """Return the scope of messages of a room on a day."""
    return f"{room}/{day.isoformat()}"


def earlier(room: str, day: date) -> str:
    """Return the scope of messages of a day before the room had a time limit; it expires with the day's own scope."""
    return f"{scope(room, day)}+"


def last_expired_day(at: datetime, days: int) -> date:
    """Return the last day (UTC) that ended at least `days` days before `at`."""
    return at.astimezone(UTC).date() - timedelta(days=days + 1)
