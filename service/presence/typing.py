"""Typing notifications: sent to the room except to the typist, and never recorded.

On the node of the typist's connection, typing expires `TYPING` seconds after the last start. On the other nodes it
expires a little later, in case the stop is lost. A repeated start is sent again only after `AGAIN` seconds.

A user may type on several connections and nodes, and stops typing when all of them have stopped.
"""

import asyncio
from collections.abc import Callable

import msgspec

from service.cluster.relay import Relay
from service.protocol.events import TypingStarted, TypingStopped
from service.realtime.audience import Audience

TYPING = 6.0
AGAIN = 2.0
EXPIRY_INTERVAL = 0.25
"""Seconds between two searches for expired typing."""

ELSEWHERE = TYPING + AGAIN + 1.0
"""Seconds for which a start from another node holds: that node sends a renewal at most every `AGAIN` seconds."""

MOST_TYPING = 10_000
"""Typists at one time; further starts are dropped, since typing notifications may be lost."""

START, STOP = "typing.start", "typing.stop"

RoomUser = tuple[str, str]
"""A room and a user."""


class TypingNotice(msgspec.Struct, frozen=True, array_like=True):
    """The message between nodes: a user started or stopped typing at a node; None stands for all nodes.

    `seen` is the head of the room on the sending node, 0 from a node of an earlier version.
    """

    user: str
    node: str | None
    seen: int = 0


class _Typist:
    __slots__ = ("broadcast_at", "local", "published_at", "remote")

    def __init__(self) -> None:
        self.local: dict[str, float] = {}  # connection: expiry
        self.remote: dict[str, float] = {}  # node: expiry
        self.broadcast_at = self.published_at = float("-inf")


class Typing:
    """The typists that this node knows of. `me` is the id of this node; `clock` returns seconds."""

    def __init__(self, relay: Relay, audience: Audience, me: str, clock: Callable[[], float]) -> None:
        self._relay = relay
        self._audience = audience
        self._me = me
        self._clock = clock
        self._typists: dict[RoomUser, _Typist] = {}
        self._by_connection: dict[str, set[RoomUser]] = {}
        self._decoder = msgspec.msgpack.Decoder(TypingNotice)

    def start(self, room: str, user: str, connection: str) -> None:
        """Start or renew the typing of a user at a connection of this node."""
        typist = self._typist(room, user)
        if typist is None:
            return
        now = self._clock()
        typist.local[connection] = now + TYPING
        self._by_connection.setdefault(connection, set()).add((room, user))
        if now - typist.published_at >= AGAIN:
            typist.published_at = now
            self._publish(START, room, user, self._me)
        self._broadcast_start(room, user, typist, now)

    def stop(self, room: str, user: str, connection: str) -> None:
        """Stop the typing of a user at a connection of this node."""
        typist = self._typists.get((room, user))
        if typist is not None and typist.local.pop(connection, None) is not None:
            self._unindex(connection, (room, user))
            self._ended_locally((room, user), typist)

    def gone(self, connection: str) -> None:
        """Stop all typing of a connection that ended."""
        for room, user in list(self._by_connection.get(connection, ())):
            self.stop(room, user, connection)

    def is_typing(self, room: str, user: str) -> bool:
        """Return whether a user is typing in a room, as far as this node knows."""
        return (room, user) in self._typists

    def clear(self, room: str, user: str) -> None:
        """Stop the typing of a user on all nodes: the message is posted, or others may not see it any more."""
        if (room, user) in self._typists:
            self._publish(STOP, room, user, None)
            self._forget((room, user))

    def hide(self, user: str, blocker: str) -> None:
        """Stop the typing of a user in direct rooms with one who has blocked the user."""
        for room, typist in list(self._typists):
            if typist == user and self._audience.is_pair(room, user, blocker):
                self.clear(room, user)

    def silence(self, room: str, user: str | None) -> None:
        """Stop the typing of a user who may post no more, None for all users; every node sees the cause itself."""
        keys = [key for key in self._typists if key[0] == room] if user is None else [(room, user)]
        for key in keys:
            if key in self._typists:
                self._forget(key)

    async def run(self) -> None:
        """Expire typing until cancelled."""
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL)
            self.expire()

    def expire(self) -> None:
        """Stop typing that was not renewed in time."""
        now = self._clock()
        for key, typist in list(self._typists.items()):
            was_local = bool(typist.local)
            for connection in [connection for connection, until in typist.local.items() if until <= now]:
                del typist.local[connection]
                self._unindex(connection, key)
            typist.remote = {node: until for node, until in typist.remote.items() if until > now}
            if was_local or not typist.remote:
                self._ended_locally(key, typist, was_local=was_local)

    def _typist(self, room: str, user: str, seen: int = 0) -> _Typist | None:
        """Return the typist to start or renew; None if the user may not post, or if too many are typing."""
        if not self._audience.may_post(room, user, seen):
            return None
        typist = self._typists.get((room, user))
        if typist is None and len(self._typists) < MOST_TYPING:
            typist = self._typists[(room, user)] = _Typist()
        return typist

    def _broadcast_start(self, room: str, user: str, typist: _Typist, now: float, seen: int = 0) -> None:
        if now - typist.broadcast_at >= AGAIN:
            typist.broadcast_at = now
            self._audience.broadcast(room, TypingStarted(room_id=room, user_id=user), but=user, seen=seen)

    def _ended_locally(self, key: RoomUser, typist: _Typist, *, was_local: bool = True) -> None:
        if typist.local:
            return
        if was_local:
            typist.published_at = float("-inf")
            self._publish(STOP, *key, self._me)
        if not typist.remote:
            self._forget(key)

    def _forget(self, key: RoomUser, seen: int = 0) -> None:
        for connection in self._typists.pop(key).local:
            self._unindex(connection, key)
        room, user = key
        self._audience.broadcast(room, TypingStopped(room_id=room, user_id=user), but=user, seen=seen)

    def _unindex(self, connection: str, key: RoomUser) -> None:
        typing = self._by_connection.get(connection, set())
        typing.discard(key)
        if not typing:
            self._by_connection.pop(connection, None)

    def started_elsewhere(self, room: str, payload: bytes) -> None:
        """Apply a `START` of another node."""
        notice = self._decoder.decode(payload)
        typist = self._typist(room, notice.user, notice.seen)
        if typist is not None and notice.node is not None:
            now = self._clock()
            typist.remote[notice.node] = now + ELSEWHERE
            self._broadcast_start(room, notice.user, typist, now, notice.seen)

    def stopped_elsewhere(self, room: str, payload: bytes) -> None:
        """Apply a `STOP` of another node."""
        notice = self._decoder.decode(payload)
        key = (room, notice.user)
        typist = self._typists.get(key)
        if typist is None:
            return
        if notice.node is not None:
            typist.remote.pop(notice.node, None)
            if typist.local or typist.remote:
                return
        self._forget(key, notice.seen)

    def _publish(self, kind: str, room: str, user: str, node: str | None) -> None:
        seen = self._audience.head(room)
        self._relay.publish_to_room(room, kind, msgspec.msgpack.encode(TypingNotice(user, node, seen)))
