"""The users of the other nodes, received over a bus that loses, repeats and reorders messages. No I/O.

A node numbers its messages (`counter`) and its changes (`version`). The counter identifies repeated messages: only a
newer one renews the node's lease. The version shows gaps: a delta applies only to the version before it, and after a
gap the complete list is requested.

Invariant: the users of a node that is silent for `LAPSE` seconds and for the grace period are released. The time in
which this node could not receive messages does not count as silence.
"""

from collections import OrderedDict

import msgspec

from service.presence.local import SETTLE, Entry
from service.presence.roster import Moment, Roster

LAPSE = 6.0
"""Seconds without a message from a node after which its users count as gone."""

REQUEST_INTERVAL = 1.0
"""Minimum seconds between two requests for the same node's users."""

MAX_FORGOTTEN = 1_000
"""Departed nodes whose last counter is kept, so that repeated messages do not bring them back."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """The fields of every message; `node` identifies the process of the sender, not its host."""

    node: str
    counter: int


class Alive(Message, frozen=True, array_like=True):
    """A heartbeat with the current version of the sender."""

    version: int


class Delta(Message, frozen=True, array_like=True):
    """The changes from version `base` to the next."""

    base: int
    users: list[Entry]


class Part(Message, frozen=True, array_like=True):
    """One of `parts` parts of the complete list at a version."""

    version: int
    part: int
    parts: int
    users: list[Entry]


class Want(Message, frozen=True, array_like=True):
    """A request for the complete list of one node, None for those of all."""

    of: str | None


class Bye(Message, frozen=True, array_like=True):
    """The sender shuts down; its clients reconnect to other nodes."""


class _View:
    """What this node knows of one other node.

    `counter` is the highest received; messages up to `floor` are ignored. `users` maps each user to the number of their
    connections there, as of `version`; `announced` is the highest version that the node has named.
    """

    def __init__(self, renewed: Moment, floor: int) -> None:
        self.renewed = renewed
        self.floor = floor
        self.counter = floor
        self.version = 0
        self.announced = 0
        self.users: dict[str, int] = {}
        self.requested_at = float("-inf")
        self.ends: float | None = None  # when the grace period after its shutdown ends
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
        """Apply a heartbeat."""
        view = self._view(message, when)
        if view is not None:
            view.announced = max(view.announced, message.version)

    def delta(self, message: Delta, when: Moment) -> None:
        """Apply a delta."""
        view = self._view(message, when)
        if view is None:
            return
        view.announced = max(view.announced, message.base + 1)
        if message.base == view.version:
            view.version += 1
            self._apply(message.node, view, message.users, when)

    def part(self, message: Part, when: Moment) -> None:
        """Store a part of a complete list; apply the list once it is complete."""
        view = self._view(message, when)
        if view is None:
            return
        view.announced = max(view.announced, message.version)
        if message.version <= view.version or message.version < view.pending[0]:
            return
        if message.version > view.pending[0]:
            view.pending = (message.version, {})
        parts = view.pending[1]
        parts[message.part] = message.users
        if len(parts) == message.parts:
            view.pending = (0, {})
            view.version = message.version
            complete = [entry for part in parts.values() for entry in part]
            gone = view.users.keys() - {user for user, *_ in complete}
            self._apply(message.node, view, [*complete, *((user, None, when.at, 0) for user in gone)], when)

    def bye(self, message: Bye, when: Moment) -> None:
        """Apply the shutdown of a node: its users stay for the grace period, in which they may reconnect elsewhere."""
        view = self._view(message, when)
        if view is not None:
            view.ends = when.now + self._grace

    def wanted(self, now: float) -> list[str]:
        """Return the nodes whose complete list has to be requested now."""
        wanted = [
            node
            for node, view in self._views.items()
            if view.version < view.announced
            and view.ends is None
            and now - view.requested_at >= REQUEST_INTERVAL
        ]
        for node in wanted:
            self._views[node].requested_at = now
        return wanted

    def settle(self, now: float) -> None:
        """Release the users of nodes whose lease has lapsed or that have shut down."""
        for node, view in list(self._views.items()):
            ends = view.renewed.now + self._patience if view.ends is None else view.ends
            if now >= ends:
                self._forget(node, view, now)

    def renew(self, now: float) -> None:
        """Renew the leases of all nodes after an outage of the bus."""
        for view in self._views.values():
            view.renewed = Moment(now, view.renewed.at)
            if view.ends is not None:
                view.ends = max(view.ends, now + LAPSE)

    def connections(self, user: str) -> int:
        """Return the number of connections of a user at the other nodes, without nodes that are shutting down."""
        return sum(view.users.get(user, 0) for view in self._views.values() if view.ends is None)

    def __len__(self) -> int:
        return len(self._views)

    def _view(self, message: Message, when: Moment) -> _View | None:
        """Return the view of the sender of a message, None for an outdated message."""
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
            view.renewed = when
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
            self._roster.release(user, node, view.renewed.at, now)
        self._forgotten[node] = view.counter
        if len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
