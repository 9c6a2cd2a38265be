"""The connections of this node, by user: who is here, and when somebody who is not was last seen."""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.wire.session import Session

MAX_SEEN = 100_000
"""Users whose last departure is remembered; the earliest is forgotten first."""


class Sessions:
    """A registry of sessions; it sends nothing."""

    def __init__(self, max_per_user: int) -> None:
        self._max_per_user = max_per_user
        self._by_user: dict[str, set[Session]] = {}
        self._seen: OrderedDict[str, datetime] = OrderedDict()

    def full(self, user: str) -> bool:
        """Return whether a user has as many connections as one may have."""
        return len(self._by_user.get(user, ())) >= self._max_per_user

    def add(self, session: "Session") -> None:
        """Count a session in."""
        self._by_user.setdefault(session.user, set()).add(session)

    def remove(self, session: "Session") -> None:
        """Count a session out."""
        sessions = self._by_user.get(session.user, set())
        sessions.discard(session)
        if not sessions and self._by_user.pop(session.user, None) is not None:
            self._seen[session.user] = datetime.now(UTC)
            self._seen.move_to_end(session.user)
            if len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)

    def of_user(self, user: str) -> "frozenset[Session]":
        """Return a user's sessions."""
        return frozenset(self._by_user.get(user, ()))

    def all(self) -> "list[Session]":
        """Return every session."""
        return [session for sessions in self._by_user.values() for session in sessions]

    def status(self, user: str) -> str:
        """Return `online` or `offline`."""
        return "online" if user in self._by_user else "offline"

    def last_seen(self, user: str) -> datetime | None:
        """Return when a user's last connection ended; None while online and where it is not known."""
        return None if user in self._by_user else self._seen.get(user)

    def __len__(self) -> int:
        return sum(map(len, self._by_user.values()))
