"""A history, arranged for the rules: commands with their tries, subscriptions with their events, and the log.

Pure. The rules (`tests/drill/rules`) decide.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from tests.drill.evidence.history import Closed, Delivery, Logged, Operation, Record, Silence, Snapshot

RECORDED = ("send", "join", "leave")


@dataclass
class Command:
    """A user's command under one ref, with all its tries."""

    tries: list[Operation]

    @property
    def first(self) -> Operation:
        """The first try; the others are equal."""
        return self.tries[0]

    @property
    def acks(self) -> list[Operation]:
        """The tries that were acknowledged."""
        return [one for one in self.tries if one.outcome == "ok"]


@dataclass
class Subscription:
    """A room as one connection received it, from a `connect` or `join` on.

    `after` is the seq after which it began, if the client gave a cursor; otherwise it began after `at_most` or
    earlier. `told` marks one that got `recovered: false`: it may end before the room does.
    """

    process: str
    user: str
    connection: str
    room: str
    opened: float
    after: int | None
    at_most: int | None = None
    told: bool = False
    heard: list[Delivery] = field(default_factory=list)
    snapshot: Snapshot | None = None
    ended: float | None = None

    @property
    def start(self) -> int | None:
        """The seq after which it began; None if the server chose it and no event has arrived."""
        if self.after is not None:
            return self.after
        return self.heard[0].seq - 1 if self.heard else None

    @property
    def reached(self) -> int:
        """The last seq that it received, or after which it began."""
        return max([self.start or 0, *(delivery.seq for delivery in self.heard)])

    def open_at(self, time: float) -> bool:
        """Whether the connection was subscribed to the room at that time."""
        return self.opened <= time and (self.ended is None or self.ended > time)


class Evidence:
    """The contents of a history."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)
        self.operations = [one for one in self.records if isinstance(one, Operation)]
        self.deliveries = [one for one in self.records if isinstance(one, Delivery)]
        self.silences = [one for one in self.records if isinstance(one, Silence)]
        self.closings = [one for one in self.records if isinstance(one, Closed)]
        self.log: dict[str, list[Logged]] = defaultdict(list)
        for one in self.records:
            if isinstance(one, Logged):
                self.log[one.room].append(one)
        self.at: dict[tuple[str, int], Logged] = {
            (one.room, one.seq): one for events in self.log.values() for one in events
        }

    @cached_property
    def connects(self) -> dict[str, Operation]:
        """The `connect` of each connection: who it is."""
        return {one.connection: one for one in self.operations if one.op == "connect"}

    @cached_property
    def commands(self) -> dict[tuple[str, str], Command]:
        """Recorded commands by user and ref."""
        found: dict[tuple[str, str], Command] = {}
        for one in self.operations:
            if one.op in RECORDED:
                found.setdefault((one.user, one.ref), Command([])).tries.append(one)
        return found

    @cached_property
    def known(self) -> dict[tuple[str, int], float]:
        """When each event was first seen by any client: in an ack, a delivery or a page."""
        known: dict[tuple[str, int], float] = {}

        def learn(room: str, seq: int, time: float) -> None:
            known[room, seq] = min(time, known.get((room, seq), time))

        for one in self.records:
            match one:
                case Delivery():
                    learn(one.room, one.seq, one.time)
                case Snapshot():
                    for said in one.page:
                        learn(one.room, said.seq, one.time)
                case Operation(outcome="ok", completed=float(completed)) if one.room:
                    for seq in (one.seq, *(said.seq for said in one.page)):
                        learn(one.room, seq, completed)
                case _:
                    pass
        return known

    def known_before(self, room: str, time: float) -> int:
        """Return the highest seq of a room that any client knew before a time: all up to it was recorded by then."""
        times, highest = self._known_by_room.get(room, ([], []))
        index = bisect_left(times, time)
        return highest[index - 1] if index else 0

    @cached_property
    def _known_by_room(self) -> dict[str, tuple[list[float], list[int]]]:
        by_room: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for (room, seq), time in self.known.items():
            by_room[room].append((time, seq))
        return {
            room: (
                [time for time, _ in sorted(pairs)],
                list(accumulate((seq for _, seq in sorted(pairs)), max)),
            )
            for room, pairs in by_room.items()
        }

    def is_fresh(self, join: Operation) -> bool:
        """Return whether the event at a join's seq is certainly this join.

        A join that changed nothing has the head and the time of its batch. These may be those of another user's
        join, or of the same user's on another connection.
        """
        event = self.at.get((join.room, join.seq))
        if event is None or (event.type, event.user, event.at) != ("MemberJoined", join.user, join.at):
            return False
        alike = [
            command
            for command in self.commands.values()
            for ack in command.acks
            if (ack.op, ack.user, ack.room, ack.seq) == ("join", join.user, join.room, join.seq)
        ]
        return len(alike) == 1 and alike[0].first is join

    def membership(self, room: str, user: str, seq: int) -> Logged | None:
        """Return the last event at or before a seq by which a user joined or left a room."""
        changes = self._changes.get((room, user), [])
        index = bisect_left(changes, seq + 1, key=lambda change: change.seq)
        return changes[index - 1] if index else None

    def is_member(self, room: str, user: str, seq: int) -> bool:
        """Return whether a user was a member right after the event with a seq."""
        last = self.membership(room, user, seq)
        return last is not None and last.type == "MemberJoined"

    def joins_after(self, room: str, user: str, seq: int) -> bool:
        """Return whether a user joined a room at some time after a seq."""
        changes = self._changes.get((room, user), [])
        return any(change.type == "MemberJoined" and change.seq > seq for change in changes)

    @cached_property
    def _changes(self) -> dict[tuple[str, str], list[Logged]]:
        changes: dict[tuple[str, str], list[Logged]] = defaultdict(list)
        for room, events in self.log.items():
            for event in events:
                if event.type in ("MemberJoined", "MemberLeft") and event.user is not None:
                    changes[room, event.user].append(event)
        return changes

    @cached_property
    def subscriptions(self) -> list[Subscription]:
        """Every subscription, in the order in which they were opened."""
        by_connection: dict[str, list[tuple[float, Operation | Delivery | Snapshot | Closed]]] = defaultdict(
            list
        )
        for one in self.records:
            match one:
                case Delivery() | Snapshot() | Closed():
                    by_connection[one.connection].append((one.time, one))
                case Operation(op="connect" | "join", outcome="ok", completed=float(completed)):
                    by_connection[one.connection].append((completed, one))
                case _:
                    pass
        found: list[Subscription] = []
        for connection, happened in by_connection.items():
            walk = _Walk(self, self.connects[connection])
            for time, one in sorted(happened, key=lambda pair: pair[0]):
                walk.step(time, one)
            found += walk.found
        return sorted(found, key=lambda one: one.opened)


class _Walk:
    """One connection, step by step."""

    def __init__(self, evidence: Evidence, connect: Operation) -> None:
        self._evidence = evidence
        self._connect = connect
        self._open: dict[str, Subscription] = {}
        self.found: list[Subscription] = []

    def step(self, time: float, one: Operation | Delivery | Snapshot | Closed) -> None:
        match one:
            case Operation(op="connect"):
                self._connected(time, one)
            case Operation():
                self._joined(time, one)
            case Delivery():
                self._delivered(one)
            case Snapshot():
                if one.room in self._open:
                    self._open[one.room].snapshot = one
            case Closed():
                for room in [*self._open]:
                    self._end(room, time)

    def _connected(self, time: float, one: Operation) -> None:
        for room, cursor in one.cursors.items():
            head = one.heads.get(room)
            if head is None or head.head is None:
                continue
            listens = head.recovered or head.reason in ("ahead", "epoch_changed")
            after = head.head if cursor is None or not head.recovered else cursor
            self._begin(room, time, after if listens else cursor, told=not head.recovered)

    def _joined(self, time: float, one: Operation) -> None:
        if one.room in self._open and one.after is None:
            return  # it is subscribed already
        if one.room in self._open:
            self._end(one.room, time)
        self._begin(
            one.room, time, one.after, at_most=one.seq - 1 if self._evidence.is_fresh(one) else one.head
        )

    def _delivered(self, one: Delivery) -> None:
        if one.room not in self._open:
            self._begin(one.room, one.time, None)
        self._open[one.room].heard.append(one)
        if one.type == "room:user_left" and one.user == self._connect.user:
            self._end(one.room, one.time)

    def _begin(
        self, room: str, time: float, after: int | None, *, at_most: int | None = None, told: bool = False
    ) -> None:
        who = self._connect
        made = Subscription(who.process, who.user, who.connection, room, time, after, at_most, told)
        self._open[room] = made
        self.found.append(made)

    def _end(self, room: str, time: float) -> None:
        self._open.pop(room).ended = time


def last_silence(evidence: Evidence) -> Silence | None:
    """Return the last silence, None if the history was interrupted before it."""
    return evidence.silences[-1] if evidence.silences else None
