"""A log in memory with the rules of `chat_append`, and helpers that set up past events."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from service.domain import room
from service.domain.events import Event, Recorded
from service.domain.room import RoomState
from service.domain.streams import EVERY_USER, NEW_MESSAGE, WHOLE_STREAM, room_stream

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = datetime(2026, 2, 1, tzinfo=UTC)
"""The time at which tests decide, after all past events."""
S = TypeVar("S")


class Log:
    """One stream."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.rows: list[Recorded] = []

    @property
    def head(self) -> int:
        return len(self.rows)

    def append(self, events: Sequence[Event], by: str, decided_on: int, guard: Sequence[str]) -> bool:
        """Append all events, or none if a guarded subject changed since `decided_on`; return whether they were."""
        if decided_on > self.head or any(guarded(row.subject, guard) for row in self.rows[decided_on:]):
            return False
        for event in events:
            self.add(event, by)
        return True

    def add(self, event: Event, by: str) -> None:
        seq = self.head + 1
        subject = f"{NEW_MESSAGE}{seq}" if event.subject == NEW_MESSAGE else event.subject
        self.rows.append(
            Recorded(self.stream, seq, seq * 3, subject, START + timedelta(seconds=seq), by, event)
        )

    def fold(self, evolve: Callable[[S, Recorded], S], state: S, until: int | None = None) -> S:
        for row in self.rows[:until]:
            state = evolve(state, row)
        return state


def guarded(subject: str, guard: Sequence[str]) -> bool:
    every_user = EVERY_USER in guard and subject.startswith("user:")
    return subject in guard or WHOLE_STREAM in guard or every_user


def room_of_events(*events: Event | tuple[str, Event], room_id: str = "general") -> RoomState:
    """Return the room after these events, each by `alice` or given as (author, event)."""
    log = Log(room_stream(room_id))
    for each in events:
        by, event = each if isinstance(each, tuple) else ("alice", each)
        log.add(event, by)
    return log.fold(room.evolve, RoomState(room_id))
