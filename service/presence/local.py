"""The users connected to this node: the status of each connection, and recent departures. No I/O.

A user whose last connection ends stays online for the grace period, so that others do not notice a reconnect within it
at any node. A user is online if one of their connections is, and away if all are: by the client's choice, or after
`AWAY_AFTER` seconds without activity.

`take_delta` returns the changes as numbered deltas; the version is the number of the last one.
"""

from service.presence.roster import Moment, Roster, Status

AWAY_AFTER = 600.0
"""Seconds without a command after which a connection counts as away, until its next command."""

SETTLE = 1.5
"""Seconds before the end of the grace period at which this node announces a departure to the other nodes.

In this time the claim of another node may arrive: it suffices to notice and repair one lost message."""

CHUNK = 500
"""Users in one message to the other nodes."""

Entry = tuple[str, Status | None, int, int]
"""A user, their status (None: gone), when they were last seen in milliseconds since 1970 (0 while connected), and their
number of connections."""


class _Connection:
    __slots__ = ("active", "idle", "status")

    def __init__(self, active: float) -> None:
        self.status: Status = "online"
        self.active = active
        self.idle = False


class LocalPresence:
    """This node's users, claimed in the roster under the node's own name; `grace` in seconds."""

    def __init__(self, me: str, roster: Roster, grace: float) -> None:
        self._me = me
        self._roster = roster
        self._settle = min(SETTLE, grace)
        self._linger = grace - self._settle
        self._connections: dict[str, dict[str, _Connection]] = {}
        self._claimed: dict[str, Status] = {}
        self._lingering: dict[str, tuple[float, int]] = {}
        self._changed: dict[str, Entry] = {}
        self.version = 0

    def arrive(self, user: str, connection: str, now: float) -> None:
        """Add a connection of a user."""
        self._connections.setdefault(user, {})[connection] = _Connection(now)
        self._lingering.pop(user, None)
        self._update(user)

    def depart(self, user: str, connection: str, when: Moment) -> None:
        """Remove a connection; an unknown one has no effect."""
        connections = self._connections.get(user, {})
        if connections.pop(connection, None) is None:
            return
        if connections:
            self._update(user)
        else:
            del self._connections[user]
            self._lingering[user] = (when.now + self._linger, when.at)
            # The user is still online, but has no connection that other nodes count against the user's limit.
            self._changed[user] = (user, self._claimed[user], 0, 0)

    def set(self, user: str, connection: str, status: Status) -> None:
        """Set the status that a client chose for a connection."""
        known = self._connections.get(user, {}).get(connection)
        if known is not None:
            known.status = status
            self._update(user)

    def touch(self, user: str, connection: str, now: float) -> None:
        """Note activity on a connection."""
        known = self._connections.get(user, {}).get(connection)
        if known is not None:
            known.active = now
            if known.idle:
                known.idle = False
                self._update(user)

    def find_idle(self, now: float) -> None:
        """Mark idle connections as away."""
        for user, connections in self._connections.items():
            for connection in connections.values():
                if not connection.idle and now - connection.active >= AWAY_AFTER:
                    connection.idle = True
                    self._update(user)

    def settle(self, now: float) -> None:
        """Release users whose grace period ends in `SETTLE` seconds or less."""
        for user, (due, seen) in list(self._lingering.items()):
            if due <= now:
                self._release(user, seen, now + self._settle)

    def postpone(self, until: float) -> None:
        """Delay all departures until `until`."""
        self._lingering = {user: (max(due, until), seen) for user, (due, seen) in self._lingering.items()}

    def clear(self, when: Moment, due: float) -> None:
        """Release all users, as the other nodes have done during a pause of this one."""
        self._connections.clear()
        for user in list(self._claimed):
            _, seen = self._lingering.get(user, (due, when.at))
            self._release(user, seen, due)

    def take_delta(self) -> tuple[int, list[Entry]] | None:
        """Return a version and the changes from it to the next version, None if there are none."""
        if not self._changed:
            return None
        users = [self._changed.pop(user) for user in list(self._changed)[:CHUNK]]
        self.version += 1
        return self.version - 1, users

    def snapshot(self) -> list[Entry]:
        """Return all users, as of `version` once all deltas are taken."""
        return [
            (user, status, 0, len(self._connections.get(user, ()))) for user, status in self._claimed.items()
        ]

    def _update(self, user: str) -> None:
        connections = self._connections[user].values()
        online = any(known.status == "online" and not known.idle for known in connections)
        status: Status = "online" if online else "away"
        if self._claimed.get(user) != status:
            self._claimed[user] = status
            self._roster.claim(user, self._me, status)
        self._changed[user] = (user, status, 0, len(connections))

    def _release(self, user: str, seen: int, due: float) -> None:
        self._lingering.pop(user, None)
        del self._claimed[user]
        self._roster.release(user, self._me, seen, due)
        self._changed[user] = (user, None, seen, 0)
