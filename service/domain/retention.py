"""What is said in a room that keeps words for so many days is sealed under keys of its own. All pure.

Each person has a key for each such room and day (UTC) on which they write there, named by a *scope* such as
`general/2026-11-27`; destroying it leaves everything else of theirs readable. Where words are kept for ever the scope
is empty, which is the person's key for everything; and so it is for names, topics and reasons everywhere.
"""

from datetime import UTC, date, datetime, timedelta

from service.domain.commands import EditMessage, PostMessage, RoomCommand
from service.domain.room_state import RoomState

FOR_EVERYTHING = ""


def scope_of(state: RoomState, command: RoomCommand, at: datetime) -> str:
    """Return the scope of the key that the words of a command are sealed with."""
    if state.retention is None or not isinstance(command, PostMessage | EditMessage):
        return FOR_EVERYTHING
    return scope(state.room, at.astimezone(UTC).date())


def scope(room: str, day: date) -> str:
    """Return the scope of what is said in a room on a day."""
    return f"{room}/{day.isoformat()}"


def earlier(room: str, day: date) -> str:
    """Return the scope of what was said in a room on a day before there was a rule; it ends with that day's own."""
    return f"{scope(room, day)}+"


def over_until(at: datetime, days: int) -> date:
    """Return the last day of which every moment is `days` past."""
    return at.astimezone(UTC).date() - timedelta(days=days + 1)
