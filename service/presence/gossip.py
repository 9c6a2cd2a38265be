"""The presence protocol between nodes, without I/O: takes local changes and messages, returns the messages to send.

A node sends a heartbeat with its version every second, its changes in each `step`, and its complete list of users on
request. A receiver detects a lost message by a gap in the versions, and requests the complete list.

Invariant: no lease lapses while the other nodes cannot be reached, and all leases are renewed once they can be. A pause
of this node's own event loop counts as time in which the others could not be reached.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from service.presence.local import CHUNK, LocalPresence
from service.presence.remote import LAPSE, Alive, Bye, Delta, Message, Part, RemotePresence, Want
from service.presence.roster import Moment, Roster

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.1
"""Seconds between two steps; changes within a step are sent together."""

HEARTBEAT = 1.0
"""Seconds between two heartbeats."""

LONG_PAUSE = 2.0
"""Seconds between two steps after which this node may have missed messages."""

SNAPSHOT_PAUSE = 0.5
"""Minimum seconds between two complete lists, for any number of requests."""

FIND_IDLE = 5.0
"""Seconds between two searches for idle connections."""

KINDS: dict[str, type[Message]] = {
    "presence.lease": Alive,
    "presence.delta": Delta,
    "presence.snapshot": Part,
    "presence.want": Want,
    "presence.bye": Bye,
}
"""The messages by their kind on the bus."""

EncodedMessage = tuple[str, bytes]
"""A message to all other nodes: its kind and its encoded form."""

_encode = msgspec.msgpack.Encoder().encode


class Gossip:
    """The protocol state of one node. `me` identifies this process of the node; `grace` is in seconds."""

    def __init__(self, me: str, grace: float, when: Moment) -> None:
        self.roster = Roster()
        self.local = LocalPresence(me, self.roster, grace)
        self.remote = RemotePresence(self.roster, grace)
        self._me = me
        self._counter = 0
        self._stepped = when.now
        self._connected = True
        self._heartbeat_due = self._find_idle_due = when.now
        self._snapshot_sent = float("-inf")
        self._request_all = True
        self._snapshot_requested = False
        self._suspect_until = when.now
        self._decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
            kind: msgspec.msgpack.Decoder(cls) for kind, cls in KINDS.items()
        }
        self._handlers: dict[type[Message], Callable[[Any, Moment], None]] = {
            Alive: self.remote.alive,
            Delta: self.remote.delta,
            Part: self.remote.part,
            Bye: self.remote.bye,
            Want: self._snapshot_wanted,
        }

    def receive(self, kind: str, payload: bytes, when: Moment) -> None:
        """Apply a message of another node.

        Raises:
            msgspec.MsgspecError: the payload is not a message of this kind.
        """
        message = self._decoders[kind].decode(payload)
        self._handlers[type(message)](message, when)

    def step(self, when: Moment, *, connected: bool) -> list[EncodedMessage]:
        """Apply what is due and return the messages to send; `connected`: whether the bus delivers messages."""
        pause = when.now - self._stepped
        self._stepped = when.now
        if pause >= LONG_PAUSE or connected > self._connected:
            self.renew(when.now)
        if pause >= LAPSE:
            # The other nodes have released this node's users. The lease in Postgres shows whether that is final.
            self._suspect_until = when.now + LAPSE
        self._connected = connected
        if connected:
            self.local.settle(when.now)
            self.remote.settle(when.now)
            self.roster.settle(when.now)
        if when.now >= self._find_idle_due:
            self._find_idle_due = when.now + FIND_IDLE
            self.local.find_idle(when.now)
        return [] if when.now < self._suspect_until else self._outgoing(when.now)

    def renew(self, now: float) -> None:
        """Renew all leases after an outage of the bus, and request the complete list from every node."""
        self.local.postpone(now + LAPSE)
        self.remote.renew(now)
        self.roster.postpone(now + LAPSE)
        self._request_all = True
        self._heartbeat_due = now

    def lease_renewed(self) -> None:
        """Callback: the lease was still held after a pause of this node."""
        self._suspect_until = self._stepped

    def fenced(self, when: Moment) -> None:
        """Callback: this node lost its lease, and its clients will be asked to reconnect.

        After a long pause, the other nodes have already released this node's users, so these are not announced again.
        """
        if when.now < self._suspect_until or when.now - self._stepped >= LAPSE:
            self.local.clear(when, when.now + LAPSE)
        self._suspect_until = when.now

    def leave(self) -> EncodedMessage:
        """Return the message that announces the end of this node."""
        return self._message(Bye(self._me, self._count()))

    def _snapshot_wanted(self, message: Want, _when: Moment) -> None:
        if message.of is None or message.of == self._me:
            self._snapshot_requested = True

    def _outgoing(self, now: float) -> list[EncodedMessage]:
        messages = []
        while (delta := self.local.take_delta()) is not None:
            messages.append(self._message(Delta(self._me, self._count(), *delta)))
        if self._snapshot_requested and now - self._snapshot_sent >= SNAPSHOT_PAUSE:
            self._snapshot_requested, self._snapshot_sent = False, now
            messages += self._snapshot()
        wanted: list[str | None] = list(self.remote.wanted(now))
        if self._request_all:
            self._request_all, wanted = False, [None]
        messages += [self._message(Want(self._me, self._count(), of)) for of in wanted]
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + HEARTBEAT
            messages.append(self._message(Alive(self._me, self._count(), self.local.version)))
        return messages

    def _snapshot(self) -> list[EncodedMessage]:
        users = self.local.snapshot()
        parts = [users[begin : begin + CHUNK] for begin in range(0, len(users), CHUNK)] or [[]]
        return [
            self._message(Part(self._me, self._count(), self.local.version, number, len(parts), part))
            for number, part in enumerate(parts)
        ]

    def _count(self) -> int:
        self._counter += 1
        return self._counter

    @staticmethod
    def _message(message: Message) -> EncodedMessage:
        return _KIND_OF[type(message)], _encode(message)


_KIND_OF = {cls: kind for kind, cls in KINDS.items()}
