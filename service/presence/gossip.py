"""The presence protocol between nodes, without I/O: local changes and messages in, messages to send out.

Every second a node sends a heartbeat with its version. Changes are sent in each `step`; the complete list is sent on
request. A lost message shows as a gap in the versions, and the complete list is requested.

Invariant: no lease lapses while the other nodes cannot be reached, and all leases are renewed once they can. A pause of
this node's own event loop counts as time in which the others could not be reached.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from service.presence.local import CHUNK, LocalPresence
from service.presence.remote import LAPSE, Alive, Bye, Delta, Message, Part, RemotePresence, Want
from service.presence.roster import Moment, Roster

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.1
"""Seconds between two steps: as long as changes are gathered before the others hear of them."""

SAY_ALIVE = 1.0
"""Seconds between two signs of life."""

STOOD_STILL = 2.0
"""Seconds between two steps after which this node has not heard what it should have."""

SAY_ALL_AGAIN = 0.5
"""Seconds between two answers to those who want everybody, however many ask."""

FIND_IDLE = 5.0
"""Seconds between two looks for connections from which nothing comes."""

KINDS: dict[str, type[Message]] = {
    "presence.lease": Alive,
    "presence.delta": Delta,
    "presence.snapshot": Part,
    "presence.want": Want,
    "presence.bye": Bye,
}
"""The messages by the names that they travel under."""

Said = tuple[str, bytes]
"""A message to every other node: its kind and its bytes."""

_encode = msgspec.msgpack.Encoder().encode


class Gossip:
    """One node's part. `me` names this life of the node; `grace` in seconds."""

    def __init__(self, me: str, grace: float, when: Moment) -> None:
        self.roster = Roster()
        self.here = LocalPresence(me, self.roster, grace)
        self.peers = RemotePresence(self.roster, grace)
        self._me = me
        self._counter = 0
        self._stepped = when.now
        self._hearing = True
        self._say_alive = self._find_idle = when.now
        self._said_all = float("-inf")
        self._want_all = True
        self._all_wanted = False
        self._doubts_until = when.now
        self._decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
            kind: msgspec.msgpack.Decoder(cls) for kind, cls in KINDS.items()
        }
        self._heard: dict[type[Message], Callable[[Any, Moment], None]] = {
            Alive: self.peers.alive,
            Delta: self.peers.delta,
            Part: self.peers.part,
            Bye: self.peers.bye,
            Want: self._wanted,
        }

    def hear(self, kind: str, payload: bytes, when: Moment) -> None:
        """Take what another node said.

        Raises:
            msgspec.MsgspecError: it is not what its kind says.
        """
        message = self._decoders[kind].decode(payload)
        self._heard[type(message)](message, when)

    def step(self, when: Moment, *, hearing: bool) -> list[Said]:
        """Let pass what is due and return what is to be said now; `hearing` says whether the others can be heard."""
        pause = when.now - self._stepped
        self._stepped = when.now
        if pause >= STOOD_STILL or hearing > self._hearing:
            self.renew(when.now)
        if pause >= LAPSE:
            # The others have let go of this node's users. Whether that stands, the lease in Postgres says.
            self._doubts_until = when.now + LAPSE
        self._hearing = hearing
        if hearing:
            self.here.settle(when.now)
            self.peers.settle(when.now)
            self.roster.settle(when.now)
        if when.now >= self._find_idle:
            self._find_idle = when.now + FIND_IDLE
            self.here.find_idle(when.now)
        return [] if when.now < self._doubts_until else self._say(when.now)

    def renew(self, now: float) -> None:
        """Renew all leases after an outage of the bus, and request the complete list from every node."""
        self.here.postpone(now + LAPSE)
        self.peers.renew(now)
        self.roster.postpone(now + LAPSE)
        self._want_all = True
        self._say_alive = now

    def trust(self) -> None:
        """Callback: the lease still held after this node had paused."""
        self._doubts_until = self._stepped

    def fenced(self, when: Moment) -> None:
        """Hear that this node was taken for dead: those who are connected will be told to come back.

        Where it had stood still the others have let go of its users already, and are not told of them again.
        """
        if when.now < self._doubts_until or when.now - self._stepped >= LAPSE:
            self.here.clear(when, when.now + LAPSE)
        self._doubts_until = when.now

    def goodbye(self) -> Said:
        """Return the message that announces the end of this node."""
        return self._message(Bye(self._me, self._count()))

    def _wanted(self, message: Want, _when: Moment) -> None:
        if message.of is None or message.of == self._me:
            self._all_wanted = True

    def _say(self, now: float) -> list[Said]:
        said = []
        while (news := self.here.take_news()) is not None:
            said.append(self._message(Delta(self._me, self._count(), news.base, news.users)))
        if self._all_wanted and now - self._said_all >= SAY_ALL_AGAIN:
            self._all_wanted, self._said_all = False, now
            said += self._everybody()
        wanted: list[str | None] = list(self.peers.wanted(now))
        if self._want_all:
            self._want_all, wanted = False, [None]
        said += [self._message(Want(self._me, self._count(), of)) for of in wanted]
        if now >= self._say_alive:
            self._say_alive = now + SAY_ALIVE
            said.append(self._message(Alive(self._me, self._count(), self.here.version)))
        return said

    def _everybody(self) -> list[Said]:
        users = self.here.everybody()
        pieces = [users[begin : begin + CHUNK] for begin in range(0, len(users), CHUNK)] or [[]]
        return [
            self._message(Part(self._me, self._count(), self.here.version, number, len(pieces), piece))
            for number, piece in enumerate(pieces)
        ]

    def _count(self) -> int:
        self._counter += 1
        return self._counter

    @staticmethod
    def _message(message: Message) -> Said:
        return _KIND_OF[type(message)], _encode(message)


_KIND_OF = {cls: kind for kind, cls in KINDS.items()}
