"""Typing notifications: sent to the room except to the typist, and never recorded.

It stops by itself when nothing more comes: `TYPING` seconds after the last start where the typist is connected, a
little later at the other nodes, in case that one is lost. A start that comes again is told again only after `AGAIN`
seconds.

A user may type at several devices and nodes, and stops when all have.
"""

import asyncio
from collections.abc import Callable

import msgspec

from service.cluster.relay import Relay
from service.protocol.events import TypingStarted, TypingStopped
from service.realtime.audience import Audience

TYPING = 6.0
AGAIN = 2.0
LOOK = 0.25
"""Seconds between two looks for those who have stopped."""

ELSEWHERE = TYPING + AGAIN + 1.0
"""Seconds for which a start heard from another node holds: what renews it there is told `AGAIN` seconds later."""

MOST_TYPING = 10_000
"""Typists at once; above that a start is not told: typing is declared lossy."""

START, STOP = "typing.start", "typing.stop"

Where = tuple[str, str]
"""A room and a user."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What nodes tell each other: who, and at which node; None is all of them.

    `seen` is the head of the room on the node that sends it; a node of an earlier version sends none.
    """

    user: str
    node: str | None
    seen: int = 0


class _Typist:
    __slots__ = ("elsewhere", "here", "shown", "told")

    def __init__(self) -> None:
        self.here: dict[str, float] = {}  # connection: until when
        self.elsewhere: dict[str, float] = {}  # node: until when
        self.shown = self.told = float("-inf")


class Typing:
    """The typists that this node knows of. `me` names the node; `clock` gives seconds."""

    def __init__(self, relay: Relay, audience: Audience, me: str, clock: Callable[[], float]) -> None:
        self._relay = relay
        self._audience = audience
        self._me = me
        self._clock = clock
        self._typists: dict[Where, _Typist] = {}
        self._at: dict[str, set[Where]] = {}
        self._decoder = msgspec.msgpack.Decoder(Told)

    def start(self, room: str, user: str, connection: str) -> None:
        """Note that a user types at a connection here."""
        typist = self._typist(room, user)
        if typist is None:
            return
        now = self._clock()
        typist.here[connection] = now + TYPING
        self._at.setdefault(connection, set()).add((room, user))
        if now - typist.told >= AGAIN:
            typist.told = now
            self._tell(START, room, user, self._me)
        self._show(room, user, typist, now)

    def stop(self, room: str, user: str, connection: str) -> None:
        """Note that a user stopped at a connection here."""
        typist = self._typists.get((room, user))
        if typist is not None and typist.here.pop(connection, None) is not None:
            self._left(connection, (room, user))
            self._ended_here((room, user), typist)

    def gone(self, connection: str) -> None:
        """Stop all typing of a connection that ended."""
        for room, user in list(self._at.get(connection, ())):
            self.stop(room, user, connection)

    def spoke(self, room: str, user: str) -> None:
        """Stop the typing of a user who has posted the message or left the room."""
        if (room, user) in self._typists:
            self._tell(STOP, room, user, None)
            self._forget((room, user))

    async def run(self) -> None:
        """Find those who have stopped without saying so, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            self.expire()

    def expire(self) -> None:
        """Let those stop from whom nothing has come for too long."""
        now = self._clock()
        for where, typist in list(self._typists.items()):
            was_here = bool(typist.here)
            for connection in [one for one, until in typist.here.items() if until <= now]:
                del typist.here[connection]
                self._left(connection, where)
            typist.elsewhere = {node: until for node, until in typist.elsewhere.items() if until > now}
            if was_here or not typist.elsewhere:
                self._ended_here(where, typist, was_here=was_here)

    def _typist(self, room: str, user: str) -> _Typist | None:
        typist = self._typists.get((room, user))
        if typist is None and len(self._typists) < MOST_TYPING:
            typist = self._typists[(room, user)] = _Typist()
        return typist

    def _show(self, room: str, user: str, typist: _Typist, now: float, seen: int = 0) -> None:
        if now - typist.shown >= AGAIN:
            typist.shown = now
            self._audience.broadcast(room, TypingStarted(room_id=room, user_id=user), but=user, seen=seen)

    def _ended_here(self, where: Where, typist: _Typist, *, was_here: bool = True) -> None:
        if typist.here:
            return
        if was_here:
            typist.told = float("-inf")
            self._tell(STOP, *where, self._me)
        if not typist.elsewhere:
            self._forget(where)

    def _forget(self, where: Where, seen: int = 0) -> None:
        for connection in self._typists.pop(where).here:
            self._left(connection, where)
        room, user = where
        self._audience.broadcast(room, TypingStopped(room_id=room, user_id=user), but=user, seen=seen)

    def _left(self, connection: str, where: Where) -> None:
        places = self._at.get(connection, set())
        places.discard(where)
        if not places:
            self._at.pop(connection, None)

    def started_elsewhere(self, room: str, payload: bytes) -> None:
        """Take a `START` from another node."""
        told = self._decoder.decode(payload)
        typist = self._typist(room, told.user)
        if typist is not None and told.node is not None:
            now = self._clock()
            typist.elsewhere[told.node] = now + ELSEWHERE
            self._show(room, told.user, typist, now, told.seen)

    def stopped_elsewhere(self, room: str, payload: bytes) -> None:
        """Take a `STOP` from another node."""
        told = self._decoder.decode(payload)
        where = (room, told.user)
        typist = self._typists.get(where)
        if typist is None:
            return
        if told.node is not None:
            typist.elsewhere.pop(told.node, None)
            if typist.here or typist.elsewhere:
                return
        self._forget(where, told.seen)

    def _tell(self, kind: str, room: str, user: str, node: str | None) -> None:
        seen = self._audience.head(room)
        self._relay.publish_to_room(room, kind, msgspec.msgpack.encode(Told(user, node, seen)))
