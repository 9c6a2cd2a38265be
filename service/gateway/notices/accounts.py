"""Applies erasure, suspension and expiry on this node: drops cached keys and content, then closes connections.

Members of the rooms concerned receive `room:content_removed`, since their unread counts change.

The log tailer calls it, so every node applies a change at the latest after one poll of the log, even without the bus.

Invariant: keys are dropped first, so that nothing is decrypted with them while the rest is dropped; connections are
closed last.
"""

import logging
from typing import TYPE_CHECKING, Any

from service.domain.events import ContentExpired, Recorded
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from service.gateway.session.registry import SessionRegistry
from service.protocol.close_codes import Close
from service.protocol.events import ContentRemoved, UserBlocked
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    import asyncpg
    from rpds import HashTrieSet

log = logging.getLogger("onrecord.standing")


class AccountEffects:
    """Applies changes of accounts and expiries to the caches and connections of this node."""

    def __init__(
        self,
        people: UserCache,
        hub: Hub,
        keys: KeyRing,
        serializer: EventSerializer,
        sessions: SessionRegistry,
        database: "asyncpg.Pool[Any]",
    ) -> None:
        self._people = people
        self._hub = hub
        self._keys = keys
        self._serializer = serializer
        self._sessions = sessions
        self._database = database

    async def changed(self, heads: dict[str, int], status_changed: list[str]) -> None:
        """Apply recorded events about users, given with the seqs of their last ones.

        Those in `status_changed` were suspended, restored or erased. Others may be up to date: this node recorded it.

        Raises:
            Unavailable: the log cannot be read.
        """
        behind = {user for user, head in heads.items() if self._people.account(user).head < head}
        known = {user: self._people.account(user).blocked for user in behind if self._sessions.of_user(user)}
        await self._people.refresh(behind - set(status_changed))
        for user, blocked in known.items():
            self._notify_blocks(user, blocked, self._people.account(user).blocked)
        if not status_changed:
            return
        await self._people.read(set(status_changed))
        if erased := [user for user in status_changed if self._people.account(user).erased]:
            await self._keys.evict_destroyed(erased, self._database)
        for user in status_changed:
            self._apply(user)

    async def expired(self, events: list[Recorded]) -> None:
        """Apply recorded expiries of rooms' content.

        Raises:
            Unavailable: the log cannot be read.
        """
        await self._serializer.evict_destroyed(events, self._database)
        for recorded in events:
            if isinstance(recorded.event, ContentExpired):
                room = recorded.event.room
                self._hub.forget_past(room)
                self._hub.audience.broadcast(room, ContentRemoved(room_id=room, reason="expired"))

    def _notify_blocks(self, user: str, before: "HashTrieSet[str]", after: "HashTrieSet[str]") -> None:
        """Report blocks that the user changed on another node."""
        if after is before:
            return
        for other in set(before) ^ set(after):
            notify_block(self._sessions, user, other, blocked=other in after)

    def _apply(self, user: str) -> None:
        state = self._people.account(user)
        if state.erased:
            self._hub.forget_user(user)
            for room in list(self._hub.audience.rooms_of(user)):
                removed = ContentRemoved(room_id=room, reason="erased", user_id=user)
                self._hub.audience.broadcast(room, removed)
        if not state.erased and not state.suspended:
            return
        code, reason = (Close.ERASED, "erased") if state.erased else (Close.SUSPENDED, "suspended")
        sessions = self._sessions.of_user(user)
        for session in sessions:
            session.close(code, reason)
        log.info("shut_out", extra={"user": user, "reason": reason, "sessions": len(sessions)})


def notify_block(sessions: SessionRegistry, user: str, other: str, *, blocked: bool) -> None:
    """Report to a user's own connections that the user blocked another user, or ended the block."""
    for session in sessions.of_user(user):
        if session.connected and not session.closing:
            session.emit(UserBlocked(user_id=other, blocked=blocked))
