"""Presence on this node: tracks who is online (`service.presence.gossip`) and notifies the connections here.

Two tasks: `run` keeps the beat between the nodes, which nothing here may delay; `tell` sends collected
changes. Nothing is recorded. Rooms above `MOST_MEMBERS` receive no changes; their clients request the member list.

Invariant: every node notifies only its own connections, from its own roster, so that each receives a change once.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from service.cluster.relay import Relay
from service.domain.room import RoomState
from service.errors import Unavailable
from service.presence.gossip import STEP, Gossip, Said
from service.presence.roster import Change, Moment, Shown, Status
from service.protocol.events import PresenceChanged, UserJoined, UserLeft, timestamp
from service.realtime.audience import Audience
from service.realtime.subscriber import Subscriber
from service.realtime.user_cache import UserCache
from service.runtime.time_slice import TimeSlice

MOST_MEMBERS = 200
"""Members of a room up to which presence changes are sent to it."""

MOST_CHANGES = 2_000
"""Users whose changes are sent in one round; the rest follow in the next."""

REST = 9.0
"""The pause after a round, as a multiple of its duration: presence takes at most a tenth of the event loop's time."""

About = PresenceChanged | UserJoined | UserLeft
"""What is sent about a user who comes, goes or is away."""

Changes = dict[About, list[str]]
"""The events for one subscriber, each with the rooms that both users share."""

log = logging.getLogger("onrecord.presence")


class Presence:
    """Who is online, as far as this node knows; `grace` in seconds."""

    def __init__(self, relay: Relay, audience: Audience, people: UserCache, grace: float) -> None:
        self._relay = relay
        self._audience = audience
        self._people = people
        self._clock = asyncio.get_running_loop().time
        self._gossip = Gossip(str(uuid4()), grace, self._when())

    # What happens to the connections here.

    def arrive(self, user: str, connection: str) -> None:
        """Count a connection in."""
        self._gossip.here.arrive(user, connection, self._clock())

    def depart(self, user: str, connection: str) -> None:
        """Count a connection out; its user stays for the grace."""
        self._gossip.here.depart(user, connection, self._when())

    def touch(self, user: str, connection: str) -> None:
        """Note a command: a user who was away because of inactivity is online again."""
        self._gossip.here.touch(user, connection, self._clock())

    def set(self, user: str, connection: str, status: Status) -> None:
        """Set the status that the client chose for a connection."""
        self._gossip.here.set(user, connection, status)

    # What is shown.

    def status(self, user: str) -> Shown:
        """Return how a user is connected, over all devices and nodes."""
        return self._gossip.roster.status(user)

    def last_seen(self, user: str) -> str | None:
        """Return when an offline user disconnected, None if connected or unknown."""
        return _shown(self._gossip.roster.last_seen(user))

    def elsewhere(self, user: str) -> int:
        """Return how many connections a user has at other nodes, as far as this node knows."""
        return self._gossip.peers.connections(user)

    # How it goes on.

    def fenced(self) -> None:
        """Callback: the lease was lost, and the connections of this node are about to be closed."""
        self._gossip.fenced(self._when())

    def trust(self) -> None:
        """Callback: the lease was renewed."""
        self._gossip.trust()

    def goodbye(self) -> None:
        """Announce to the other nodes that this one stops."""
        self._say([self._gossip.goodbye()])

    async def run(self) -> None:
        """Speak with the other nodes until cancelled."""
        while True:
            self._say(self._gossip.step(self._when(), hearing=self._relay.heartbeat.receiving))
            await asyncio.sleep(STEP)

    async def tell(self) -> None:
        """Send presence changes to the connections here, until cancelled."""
        pause = STEP
        while True:
            await asyncio.sleep(pause)
            began = time.perf_counter()
            if changes := self._gossip.roster.changes(MOST_CHANGES):
                with suppress(Unavailable):  # then they are called by their ids
                    await self._people.load(change.user for change in changes if change.returns)
                await self._tell({change.user: change for change in changes})
            pause = max(STEP, REST * (time.perf_counter() - began))

    async def _tell(self, changes: dict[str, Change]) -> None:
        """Send each listener all changes that it may see, in one piece."""
        messages: dict[Subscriber, Changes] = {}
        presence = {user: _presence(change) for user, change in changes.items()}
        turns = TimeSlice()
        for room, listeners in self._audience.rooms_with_members_under(MOST_MEMBERS):
            for user in [user for user in room.members if user in changes]:
                self._add_recipients(messages, room, listeners, changes[user], presence[user])
            await turns.over()
        batch = self._audience.batch()
        for listener, message in messages.items():
            # Memberships may have ended in the turns since the message was begun.
            batch.send(
                listener, [one for one, rooms in message.items() if self._shared(listener.user, one, rooms)]
            )
            await turns.over()

    def _shared(self, user: str, outgoing: About, rooms: list[str]) -> bool:
        """Return whether both users are members of any of the rooms at this moment."""
        return any(self._audience.are_members(room, (user, outgoing.user_id)) for room in rooms)

    def _add_recipients(
        self,
        messages: dict[Subscriber, Changes],
        room: RoomState,
        listeners: Collection[Subscriber],
        change: Change,
        changed: PresenceChanged,
    ) -> None:
        in_room = self._in_room(room, change)
        # A user who has just connected is not notified of it.
        arrives = change.before == "offline"
        for listener in listeners:
            if arrives and listener.user == change.user:
                continue
            message = messages.setdefault(listener, {})
            if in_room is not None:
                message[in_room] = [room.room]
            message.setdefault(changed, []).append(room.room)  # once, however many rooms they share

    def _in_room(self, room: RoomState, change: Change) -> UserLeft | UserJoined | None:
        """Return the event about joining or leaving that a room receives besides."""
        if change.status == "offline":
            return UserLeft(room_id=room.room, user_id=change.user, reason="disconnect")
        if not change.returns:
            return None
        return UserJoined(
            room_id=room.room,
            user_id=change.user,
            name=self._people.name_of(change.user),
            role=room.members[change.user].role,
            reason="reconnect",
        )

    def receive(self, kind: str, payload: bytes) -> None:
        """Take a message of another node."""
        try:
            self._gossip.hear(kind, payload, self._when())
        except msgspec.MsgspecError:
            # Signed by one of ours, so another version: it is as if nothing had come.
            log.warning("presence_unreadable", extra={"kind": kind})

    def resync(self) -> None:
        """Exchange the complete state with the other nodes, after an outage of the bus."""
        self._gossip.renew(self._clock())

    def _say(self, said: list[Said]) -> None:
        for kind, payload in said:
            self._relay.publish(kind, payload)

    def _when(self) -> Moment:
        return Moment(self._clock(), int(time.time() * 1000))


def _presence(change: Change) -> PresenceChanged:
    return PresenceChanged(user_id=change.user, status=change.status, last_seen=_shown(change.seen))


def _shown(milliseconds: int | None) -> str | None:
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC)) if milliseconds is not None else None
