"""The status of users over all devices and nodes: the union of the claims of all nodes. No I/O.

Each node keeps its own roster. A *claim* states that a user is connected at a node. When the last claim of a user is
released, the user goes offline at the time `due` and not at once, because the claim of another node may be on its way.

Invariant: each change is returned once, and a user who went offline returns before going offline again.
"""

from collections import OrderedDict
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")

MAX_SEEN = 100_000
"""Users whose last departure is kept, about 200 bytes each; the earliest is evicted first, and reads as never seen."""

Status = Literal["online", "away"]
"""The status of a connected user."""

VisibleStatus = Literal["online", "away", "offline"]
"""The status of a user as others see it."""


class Moment(NamedTuple):
    """The time: `now` in seconds on a monotonic clock, `at` in milliseconds since 1970, for display."""

    now: float
    at: int


class Change(NamedTuple):
    """A change of a user's status; `seen` is when they left, in milliseconds since 1970, if offline.

    `returns`: whether the user comes back after a change to offline was sent.
    """

    user: str
    before: VisibleStatus
    status: VisibleStatus
    seen: int | None
    returns: bool


class Roster:
    """The users connected to any node, and when offline users were last seen."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[str, Status]] = {}
        self._leaving: dict[str, float] = {}
        self._shown: dict[str, VisibleStatus] = {}
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self._dirty: dict[str, None] = {}

    def claim(self, user: str, node: str, status: Status) -> None:
        """Note that a user is connected at a node."""
        self._claims.setdefault(user, {})[node] = status
        self._leaving.pop(user, None)
        self._dirty[user] = None

    def release(self, user: str, node: str, seen: int, due: float) -> None:
        """Note that a user, last seen at `seen`, is not connected at a node any more."""
        claims = self._claims.get(user, {})
        if claims.pop(node, None) is None:
            return
        _keep(self._seen, user, max(seen, self._seen.get(user, 0)))
        self._dirty[user] = None
        if not claims:
            del self._claims[user]
            self._leaving[user] = due

    def settle(self, now: float) -> None:
        """Mark users as offline whose departure is due."""
        for user in [user for user, due in self._leaving.items() if due <= now]:
            del self._leaving[user]
            self._dirty[user] = None

    def postpone(self, until: float) -> None:
        """Delay all departures until `until`: claims may have been lost in an outage."""
        self._leaving = {user: max(due, until) for user, due in self._leaving.items()}

    def status(self, user: str) -> VisibleStatus:
        """Return the status of a user as others see it."""
        claims = self._claims.get(user)
        if claims:
            return "online" if "online" in claims.values() else "away"
        # A user who connected and left between two rounds counts as online, so that both changes are sent.
        return self._shown.get(user, "online") if user in self._leaving else "offline"

    def last_seen(self, user: str) -> int | None:
        """Return when an offline user left, in milliseconds since 1970; None if unknown."""
        return self._seen.get(user) if self.status(user) == "offline" else None

    def changes(self, most: int) -> list[Change]:
        """Return the changes since the last call, of at most `most` users; the rest follow in the next call."""
        changes = []
        for user in list(self._dirty)[:most]:
            del self._dirty[user]
            before, status = self._shown.get(user, "offline"), self.status(user)
            if status != before:
                changes.append(self._change(user, before, status))
        return changes

    def _change(self, user: str, before: VisibleStatus, status: VisibleStatus) -> Change:
        returns = user in self._left
        if status == "offline":
            del self._shown[user]
            _keep(self._left, user, None)
            return Change(user, before, status, self._seen.get(user), returns=False)
        self._shown[user] = status
        self._left.pop(user, None)
        return Change(user, before, status, None, returns)

    def __len__(self) -> int:
        return len(self._claims)


def _keep(kept: OrderedDict[str, T], user: str, value: T) -> None:
    kept[user] = value
    kept.move_to_end(user)
    if len(kept) > MAX_SEEN:
        kept.popitem(last=False)
