"""The commands that have no answer yet, and which of them may be sent now. No socket, no clock, no task.

Invariant: a command leaves only with its answer, and until then keeps its place and its ref, so sending it again has
one effect. Messages of a room are sent one after the other, so a refused one is not overtaken. A command that is
refused for now is sent again by itself after the time that the server names, and the others are held back for a part
of it. The number of commands is bounded; one more is refused at once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from onrecord_client.errors import OUTBOX_FULL, OnRecordError
from onrecord_client.messages import Frame

MAX_WAITING = 512
UNDER_WAY = 16
"""Commands that wait for an answer of the server at a time."""

RETRY_S = 1.0
"""Seconds to wait after a retryable refusal that does not say how long; doubled each time, up to 32 times."""

DOUBLINGS = 5
HOLDING = ("too_many_requests", "overloaded", "unavailable")
"""Refusals that the next command would meet too."""

LONGEST_HOLD_S = 5.0
"""Seconds for which a refusal holds back the other commands, whose limit may be another one."""

LONGEST_RETRY_S = 60.0
"""Seconds after which a command is sent again by itself. A refusal for longer is an answer, except to a message."""

Outcome = Frame | OnRecordError


def new_ref() -> str:
    """Return a ref that no other command has."""
    return str(uuid4())


@dataclass(eq=False)
class Command:
    """A command and its future answer, an `ack` frame.

    `settle` is called with the outcome before the next frame is read. `sent_at` is None while it is not under way.
    """

    type: str
    fields: dict[str, Any]
    ref: str = field(default_factory=new_ref)
    settle: Callable[[Outcome], None] | None = None
    not_before: float = 0.0
    refusals: int = 0
    answer: "asyncio.Future[Frame]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    sent_at: float | None = None

    @property
    def lane(self) -> str | None:
        """The key of commands that are sent one after the other; None: it waits for no other."""
        return str(self.fields["roomId"]) if self.type == "message:send" else None

    def frame(self) -> dict[str, Any]:
        """Return what is sent."""
        return {"type": self.type, "ref": self.ref, **self.fields}


class Commands:
    """The unanswered commands of a client, the oldest first. Times are in seconds of any one clock."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._by_ref: dict[str, Command] = {}
        self._held_until = 0.0

    def __len__(self) -> int:
        return len(self._by_ref)

    def add(self, command: Command) -> "asyncio.Future[Frame]":
        """Accept a command; return its answer.

        Raises:
            OnRecordError: too many wait already, or another has the same ref.
        """
        if len(self._by_ref) >= MAX_WAITING:
            raise OnRecordError(OUTBOX_FULL, "Too many commands wait to be sent already.", retryable=True)
        if command.ref in self._by_ref:
            raise OnRecordError("ref_conflict", "Another command with this ref waits for its answer.")
        self._by_ref[command.ref] = command
        # The answer of a command whose caller has gone is not an unhandled error.
        command.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._wake()
        return command.answer

    def take(self, now: float) -> list[Command]:
        """Return the commands to send now, which are then under way."""
        if now < self._held_until:
            return []
        under_way = sum(command.sent_at is not None for command in self._by_ref.values())
        lanes: set[str] = set()
        taken: list[Command] = []
        for command in self._by_ref.values():
            lane = command.lane
            waits = lane in lanes
            if lane is not None:
                lanes.add(lane)
            if command.sent_at is None and not waits and under_way < UNDER_WAY and now >= command.not_before:
                under_way += 1
                command.sent_at = now
                taken.append(command)
        return taken

    def next_at(self) -> float | None:
        """Return the time at which a command may be sent that has to wait now, None if there is none."""
        waits = [command.not_before for command in self._by_ref.values() if command.sent_at is None]
        return max(self._held_until, min(waits)) if waits else None

    def answer(self, frame: Frame, now: float) -> None:
        """Take an `ack` or `error`: it ends its command, or makes it wait and be sent again."""
        ref = frame.get("ref")
        command = self._by_ref.get(ref) if isinstance(ref, str) else None
        if command is None:
            return
        error = OnRecordError.of(frame) if frame["type"] == "error" else None
        if error is not None and _retries(command, error):
            wait = RETRY_S * 2.0 ** min(command.refusals, DOUBLINGS)
            after = wait if error.retry_after is None else error.retry_after
            command.sent_at, command.not_before = None, now + after
            command.refusals += 1
            if error.code in HOLDING:
                self._held_until = max(self._held_until, now + min(after, LONGEST_HOLD_S))
        else:
            self.end(command.ref, error or frame)
        self._wake()

    def end(self, ref: str, outcome: Outcome) -> None:
        """End a command, if there is one with this ref."""
        command = self._by_ref.pop(ref, None)
        if command is None:
            return
        if command.settle is not None:
            command.settle(outcome)
        if command.answer.done():
            return  # its caller was cancelled
        if isinstance(outcome, OnRecordError):
            command.answer.set_exception(outcome)
        else:
            command.answer.set_result(outcome)

    def forget(self, ref: str) -> None:
        """Remove a command that has not been sent."""
        self._by_ref.pop(ref, None)

    def has(self, kind: str, room_id: str) -> bool:
        """Return whether a command of this type about a room waits for its answer."""
        return any(
            each.type == kind and each.fields.get("roomId") == room_id for each in self._by_ref.values()
        )

    def find(self, ref: str) -> Command | None:
        """Return the command with a ref."""
        return self._by_ref.get(ref)

    def overdue(self, now: float, limit: float) -> bool:
        """Return whether a command has been under way for longer than `limit` seconds."""
        sent = (command.sent_at for command in self._by_ref.values() if command.sent_at is not None)
        return any(now - at > limit for at in sent)

    def disconnected(self) -> None:
        """Send everything again on the next connection.

        What a join sends belongs to its connection, so it is asked again, under a ref of its own.
        """
        commands = [*self._by_ref.values()]
        self._by_ref.clear()
        for command in commands:
            command.sent_at = None
            if command.type == "room:join":
                command.ref = new_ref()
            self._by_ref[command.ref] = command

    def abandon(self, error: OnRecordError) -> None:
        """End the wait for every answer, since nothing is sent any more. Nothing is settled."""
        commands = [*self._by_ref.values()]
        self._by_ref.clear()
        for command in commands:
            if not command.answer.done():
                command.answer.set_exception(error)


def _retries(command: Command, error: OnRecordError) -> bool:
    waits_long = error.retry_after is not None and error.retry_after > LONGEST_RETRY_S
    return error.retryable and (command.type == "message:send" or not waits_long)
