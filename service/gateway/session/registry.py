"""The sessions of this node, by user."""

import asyncio
from datetime import datetime
from math import inf
from time import time
from typing import TYPE_CHECKING

from service.protocol.close_codes import Close

if TYPE_CHECKING:
    from service.gateway.session.session import Session

LOOK_EVERY = 0.25
"""Seconds between two checks for expired tokens."""


class SessionRegistry:
    """A registry of sessions, with the limit of connections per user."""

    def __init__(self, max_per_user: int) -> None:
        self._max_per_user = max_per_user
        self._by_user: dict[str, set[Session]] = {}
        self._expiries: dict[Session, float] = {}
        self._soonest = inf  # no token of a registered session expires earlier

    def full(self, user: str, elsewhere: int) -> bool:
        """Return whether a user who has `elsewhere` connections at other nodes has reached the limit."""
        return len(self._by_user.get(user, ())) + elsewhere >= self._max_per_user

    def add(self, session: "Session") -> None:
        """Add a session."""
        self._by_user.setdefault(session.user, set()).add(session)
        self._expire(session, session.expires_at)

    def renew(self, session: "Session", expires_at: datetime) -> None:
        """Replace the expiry of a session; at that time it is closed with 4001."""
        session.expires_at = expires_at
        self._expire(session, expires_at)

    def remove(self, session: "Session") -> None:
        """Remove a session."""
        sessions = self._by_user.get(session.user, set())
        sessions.discard(session)
        self._expiries.pop(session, None)
        if not sessions:
            self._by_user.pop(session.user, None)

    async def run(self) -> None:
        """Close sessions with expired tokens, until cancelled. Checking all is cheaper than a timer for each."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if (now := time()) >= self._soonest:
                self._soonest = inf
                for session, expiry in [*self._expiries.items()]:
                    if expiry > now:
                        self._soonest = min(self._soonest, expiry)
                    elif not session.closing:
                        session.close(Close.TOKEN_EXPIRED, "token expired")

    def _expire(self, session: "Session", at: datetime) -> None:
        self._expiries[session] = expiry = at.timestamp()
        self._soonest = min(self._soonest, expiry)

    def of_user(self, user: str) -> "frozenset[Session]":
        """Return a user's sessions."""
        return frozenset(self._by_user.get(user, ()))

    def all(self) -> "list[Session]":
        """Return every session."""
        return [session for sessions in self._by_user.values() for session in sessions]

    def __len__(self) -> int:
        return sum(map(len, self._by_user.values()))
