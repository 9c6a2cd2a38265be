"""Joins the sessions of under a second of one user into one record, so that connecting often costs the log little.

A user's first sessions are recorded one by one, within an allowance. A session beyond it belongs to a group until it is
a second old: if it ends before, the group counts it and takes over what was written to it; otherwise it gets a record
of its own. A group is recorded as one session, from its first member on, for `GROUP_SECONDS`.

Invariant: from its start on, each session belongs to a record that is open, so what was written to it is on the record
or, if the node dies, known to be unknown.
"""

from collections.abc import Callable
from typing import Protocol
from uuid import UUID, uuid4

import msgspec

from service.runtime.ranges import MAX_GAPS, gaps, union
from service.runtime.timeouts import Timeouts
from service.runtime.token_bucket import TokenBuckets

BRIEF = "brief"
"""The recorded reason of the end of a group."""

SECONDS = 1.0
"""The age from which a session has a record of its own."""

GROUP_SECONDS = 60.0
"""Seconds after which the next brief session begins another group."""

APART_BURST = 20
"""Sessions of one user that are recorded one by one, however short they are."""

APART_PER_SECOND = 1 / 30
"""How fast that allowance fills."""

MAX_ADDRESSES = 20
"""Addresses that a group names; further ones are not named."""

Ranges = dict[str, tuple[tuple[int, int], ...]]
"""Per room the ranges of seqs that were written to a session, both ends inclusive."""


class Closing(msgspec.Struct, frozen=True):
    """How a session or a group ended; the fields are those of `SessionClosed`."""

    reason: str
    code: int | None
    ranges: Ranges | None
    at_least: dict[str, int] = {}
    sessions: int | None = None
    addresses: tuple[str, ...] = ()


class Group(msgspec.Struct):
    """The brief sessions of one user; `young` are those whose age is under a second."""

    incarnation: UUID
    id: str = msgspec.field(default_factory=lambda: str(uuid4()))
    young: int = 0
    count: int = 0
    over: bool = False
    ranges: Ranges = msgspec.field(default_factory=dict)
    addresses: dict[str, None] = msgspec.field(default_factory=dict)

    def add(self, address: str | None, closing: Closing) -> bool:
        """Count a session that has ended, and take over its ranges; return False if the union is not exact any more."""
        if closing.ranges is None or closing.at_least:
            return False
        merged = joined(self.ranges, closing.ranges)
        if gaps(merged) > MAX_GAPS:
            return False
        self.ranges = merged
        self.count += 1
        if address is not None and len(self.addresses) < MAX_ADDRESSES:
            self.addresses[address] = None
        return True

    def closing(self) -> Closing:
        """Return how the group is closed on the record."""
        return Closing(BRIEF, None, self.ranges, sessions=self.count, addresses=tuple(self.addresses))


class Recorder(Protocol):
    """The log of sessions, as groups use it."""

    def record(self, session: str) -> None:
        """Record a session apart, from now on."""

    def open_group(self, group: Group, session: str) -> None:
        """Record the opening of a group whose first member is a session."""

    def close_group(self, group: Group) -> None:
        """Record the closing of a group."""


class BriefSessions:
    """The groups of one node; `clock` gives seconds."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._apart = TokenBuckets(APART_PER_SECOND, APART_BURST, clock)
        self._young: Timeouts[str] = Timeouts(SECONDS, self._grown)
        self._groups: dict[str, Group] = {}
        self._group_of: dict[str, Group] = {}
        self._ends: Timeouts[str] = Timeouts(GROUP_SECONDS, self._end)

    def opened(self, session: str, user: str, incarnation: UUID) -> bool:
        """Return whether a session is recorded apart at once; otherwise it belongs to a group for now."""
        if (left := self._apart.left(user)) >= 1:
            self._apart.keep(user, left - 1)
            return True
        group = self._groups.get(user)
        if group is not None and group.incarnation != incarnation:
            self._end(user)
            group = None
        if group is None:
            group = self._groups[user] = Group(incarnation)
            self._recorder.open_group(group, session)
            self._ends.begin(user)
        group.young += 1
        self._group_of[session] = group
        self._young.begin(session)
        return False

    def closed(self, session: str, address: str | None, closing: Closing) -> bool:
        """Return whether a session that has ended is part of its group, and so needs no record of its own."""
        group = self._group_of.pop(session, None)
        if group is None:
            return False
        self._young.end(session)
        counted = group.add(address, closing)
        self._left(group)
        return counted

    def end(self) -> None:
        """End every group."""
        for user in list(self._groups):
            self._ends.end(user)
            self._end(user)

    def _grown(self, session: str) -> None:
        """Record a session apart, since it is a second old."""
        group = self._group_of.pop(session)
        self._recorder.record(session)
        self._left(group)

    def _end(self, user: str) -> None:
        group = self._groups.pop(user)
        self._ends.end(user)
        group.over = True
        self._close(group)

    def _left(self, group: Group) -> None:
        group.young -= 1
        self._close(group)

    def _close(self, group: Group) -> None:
        """Close a group that is over, once it has no young member."""
        if group.over and not group.young:
            self._recorder.close_group(group)


def joined(one: Ranges, other: Ranges) -> Ranges:
    """Return the ranges in either, merged and ascending."""
    return {room: union([*one.get(room, ()), *other.get(room, ())]) for room in sorted({*one, *other})}
