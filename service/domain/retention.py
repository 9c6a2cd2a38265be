"""The key scopes of rooms with retention, whose messages have keys of their own. Pure.

Each person has a key for each such room and day (UTC) on which they write there, named by a *scope* such as
`general/2026-11-27`; destroying it leaves their other content readable. Without retention the scope is empty, which is
the person's general key; so it is for names, topics and reasons everywhere.
"""

from datetime import UTC, date, datetime, timedelta

from service.domain.commands import EditMessage, PostMessage, RoomCommand
from service.domain.room_state import RoomState

FOR_EVERYTHING = ""


def scope_of(state: RoomState, command: RoomCommand, at: datetime) -> str:
    """Return the scope of the key that encrypts the texts of a command."""
    if state.retention is None or not isinstance(command, PostMessage | EditMessage):
        return FOR_EVERYTHING
    return scope(state.room, at.astimezone(UTC).date())


def scope(room: str, day: date) -> str:
    """Return the scope of messages in a room on a day."""
    return f"{room}/{day.isoformat()}"


def earlier(room: str, day: date) -> str:
    """Return the scope of messages in a room on a day before it had a rule; it expires with that day's own scope."""
    return f"{scope(room, day)}+"


def over_until(at: datetime, days: int) -> date:
    """Return the last day that ended at least `days` ago."""
    return at.astimezone(UTC).date() - timedelta(days=days + 1)
