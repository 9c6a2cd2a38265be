"""What the other nodes say of their users, over a bus that loses, repeats and reorders. Pure.

A node numbers its messages (`counter`) and its changes (`version`). The counter tells what is new from what is
repeated: only a newer message shows that a node lives. The version tells what is missing: a change applies to the
version before it and to no other, and where there is a gap the whole is asked for.

Invariant: the users of a node that is silent for the time of its lease are released, but not before the grace is over,
and never because of messages that could not be received.
"""

from collections import OrderedDict

import msgspec

from service.presence.local import SETTLE, Entry
from service.presence.roster import Moment, Roster

LAPSE = 6.0
"""Seconds without a word from a node after which its users count as gone."""

ASK_AGAIN = 1.0
"""Seconds between two questions for the same node's users."""

MAX_FORGOTTEN = 1_000
"""Nodes whose last counter is remembered after they are gone, so that repeated messages do not bring them back."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """What every message has: `node` names the sender's life, not its host."""

    node: str
    counter: int


class Alive(Message, frozen=True, array_like=True):
    """The sender lives, and has come to a version."""

    version: int


class Delta(Message, frozen=True, array_like=True):
    """What has changed from version `base` to the next."""

    base: int
    users: list[Entry]


class Part(Message, frozen=True, array_like=True):
    """One of `parts` pieces of everybody at a version."""

    version: int
    part: int
    parts: int
    users: list[Entry]


class Want(Message, frozen=True, array_like=True):
    """The sender wants everybody from one node, or from all."""

    of: str | None


class Bye(Message, frozen=True, array_like=True):
    """The sender stops in order; its clients are on their way to other nodes."""


class _View:
    """One other node. `counter` is the newest heard, `floor` what its messages have to be above to count at all.

    `users` has how many connections each has there.
    """

    def __init__(self, heard: Moment, floor: int) -> None:
        self.heard = heard
        self.floor = floor
        self.counter = floor
        self.version = 0
        self.told = 0
        self.users: dict[str, int] = {}
        self.asked = float("-inf")
        self.ends: float | None = None
        self.pending: tuple[int, dict[int, list[Entry]]] = (0, {})


class RemotePresence:
    """The other nodes; `grace` in seconds."""

    def __init__(self, roster: Roster, grace: float) -> None:
        self._roster = roster
        self._patience = max(LAPSE, grace)
        self._grace = grace
        self._settle = min(SETTLE, grace)
        self._views: dict[str, _View] = {}
        self._forgotten: OrderedDict[str, int] = OrderedDict()

    def alive(self, message: Alive, when: Moment) -> None:
        """Take a heartbeat."""
        view = self._view(message, when)
        if view is not None:
            view.told = max(view.told, message.version)

    def delta(self, message: Delta, when: Moment) -> None:
        """Take a change."""
        view = self._view(message, when)
        if view is None:
            return
        view.told = max(view.told, message.base + 1)
        if message.base == view.version:
            view.version += 1
            self._apply(message.node, view, message.users, when)

    def part(self, message: Part, when: Moment) -> None:
        """Take a part of the complete list."""
        view = self._view(message, when)
        if view is None:
            return
        view.told = max(view.told, message.version)
        if message.version <= view.version or message.version < view.pending[0]:
            return
        if message.version > view.pending[0]:
            view.pending = (message.version, {})
        pieces = view.pending[1]
        pieces[message.part] = message.users
        if len(pieces) == message.parts:
            view.pending = (0, {})
            view.version = message.version
            everybody = [entry for piece in pieces.values() for entry in piece]
            gone = view.users.keys() - {user for user, *_ in everybody}
            self._apply(message.node, view, [*everybody, *((user, None, when.at, 0) for user in gone)], when)

    def bye(self, message: Bye, when: Moment) -> None:
        """Take the end of a node: its users linger for the grace, which they may use to come back elsewhere."""
        view = self._view(message, when)
        if view is not None:
            view.ends = when.now + self._grace

    def wanted(self, now: float) -> list[str]:
        """Return the nodes of which something is missing, each at most once in a while."""
        wanted = [
            node
            for node, view in self._views.items()
            if view.version < view.told and view.ends is None and now - view.asked >= ASK_AGAIN
        ]
        for node in wanted:
            self._views[node].asked = now
        return wanted

    def settle(self, now: float) -> None:
        """Let go of the users of nodes that are gone."""
        for node, view in list(self._views.items()):
            ends = view.heard.now + self._patience if view.ends is None else view.ends
            if now >= ends:
                self._forget(node, view, now)

    def renew(self, now: float) -> None:
        """Give every node a fresh lease: nothing could be heard for a while."""
        for view in self._views.values():
            view.heard = Moment(now, view.heard.at)
            if view.ends is not None:
                view.ends = max(view.ends, now + LAPSE)

    def connections(self, user: str) -> int:
        """Return how many connections a user has at the other nodes, those that stop left out."""
        return sum(view.users.get(user, 0) for view in self._views.values() if view.ends is None)

    def __len__(self) -> int:
        return len(self._views)

    def _view(self, message: Message, when: Moment) -> _View | None:
        """Return the view that a message is about, None where the message is an old one."""
        view = self._views.get(message.node)
        if view is None:
            view = _View(when, self._forgotten.get(message.node, 0))
            if message.counter > view.floor:
                self._views[message.node] = view
                self._forgotten.pop(message.node, None)
        if message.counter <= view.floor or view.ends is not None:
            return None
        if message.counter > view.counter:
            view.counter = message.counter
            view.heard = when
        return view

    def _apply(self, node: str, view: _View, users: list[Entry], when: Moment) -> None:
        for user, status, seen, connections in users:
            if status is None:
                view.users.pop(user, None)
                self._roster.release(user, node, seen, when.now + self._settle)
            else:
                view.users[user] = connections
                self._roster.claim(user, node, status)

    def _forget(self, node: str, view: _View, now: float) -> None:
        del self._views[node]
        for user in view.users:
            self._roster.release(user, node, view.heard.at, now)
        self._forgotten[node] = view.counter
        if len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
