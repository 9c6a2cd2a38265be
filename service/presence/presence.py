"""Presence on this node: tracks who is online (`service.presence.gossip`) and notifies the connections here.

It runs as two tasks: `run` exchanges messages with the other nodes and must not be delayed; `notify` sends collected
changes. Nothing is recorded. Rooms with more than `MOST_MEMBERS` members receive no changes; their clients request the
member list.

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
from service.presence.gossip import STEP, EncodedMessage, Gossip
from service.presence.roster import Change, Moment, Status, VisibleStatus
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

PresenceEvent = PresenceChanged | UserJoined | UserLeft
"""An event about the presence of a user."""

Changes = dict[PresenceEvent, list[str]]
"""The events for one subscriber, each with the rooms that both users share."""

log = logging.getLogger("onrecord.presence")


class Presence:
    """The presence of all users as known on this node; `grace` in seconds."""

    def __init__(self, relay: Relay, audience: Audience, people: UserCache, grace: float) -> None:
        self._relay = relay
        self._audience = audience
        self._people = people
        self._clock = time.monotonic
        self._gossip = Gossip(str(uuid4()), grace, self._when())

    def arrive(self, user: str, connection: str) -> None:
        """Add a connection."""
        self._gossip.local.arrive(user, connection, self._clock())

    def depart(self, user: str, connection: str) -> None:
        """Remove a connection; its user stays online for the grace period."""
        self._gossip.local.depart(user, connection, self._when())

    def touch(self, user: str, connection: str) -> None:
        """Note a command: a user who was away because of inactivity is online again."""
        self._gossip.local.touch(user, connection, self._clock())

    def set(self, user: str, connection: str, status: Status) -> None:
        """Set the status that the client chose for a connection."""
        self._gossip.local.set(user, connection, status)

    def status(self, user: str) -> VisibleStatus:
        """Return the status of a user, over all devices and nodes."""
        return self._gossip.roster.status(user)

    def last_seen(self, user: str) -> str | None:
        """Return when an offline user disconnected, None if connected or unknown."""
        return _timestamp(self._gossip.roster.last_seen(user))

    def remote_connections(self, user: str) -> int:
        """Return how many connections a user has at other nodes, as far as this node knows."""
        return self._gossip.remote.connections(user)

    def fenced(self) -> None:
        """Callback: the lease was lost, and the connections of this node are about to be closed."""
        self._gossip.fenced(self._when())

    def lease_renewed(self) -> None:
        """Callback: the lease was renewed."""
        self._gossip.lease_renewed()

    def announce_leave(self) -> None:
        """Announce to the other nodes that this one stops."""
        self._publish([self._gossip.leave()])

    async def run(self) -> None:
        """Exchange messages with the other nodes until cancelled."""
        while True:
            self._publish(self._gossip.step(self._when(), connected=self._relay.heartbeat.receiving))
            await asyncio.sleep(STEP)

    async def notify(self) -> None:
        """Send presence changes to the connections here, until cancelled."""
        pause = STEP
        while True:
            await asyncio.sleep(pause)
            began = time.perf_counter()
            if changes := self._gossip.roster.changes(MOST_CHANGES):
                with suppress(Unavailable):  # then their ids are sent as names
                    await self._people.load(change.user for change in changes if change.returns)
                await self._notify({change.user: change for change in changes})
            pause = max(STEP, REST * (time.perf_counter() - began))

    async def _notify(self, changes: dict[str, Change]) -> None:
        """Send each subscriber all changes that its user may see, in one batch."""
        pending: dict[Subscriber, Changes] = {}
        presence = {user: _presence(change) for user, change in changes.items()}
        turns = TimeSlice()
        for room, subscribers in self._audience.rooms_with_members_under(MOST_MEMBERS):
            for user in [user for user in room.members if user in changes]:
                self._add_recipients(pending, room, subscribers, changes[user], presence[user])
            await turns.over()
        batch = self._audience.batch()
        for subscriber, events in pending.items():
            # Memberships may have ended since the events were collected.
            batch.send(
                subscriber,
                [event for event, rooms in events.items() if self._shared(subscriber.user, event, rooms)],
            )
            await turns.over()

    def _shared(self, user: str, outgoing: PresenceEvent, rooms: list[str]) -> bool:
        """Return whether both users are members of any of the rooms at this moment."""
        return any(self._audience.are_members(room, (user, outgoing.user_id)) for room in rooms)

    def _add_recipients(
        self,
        pending: dict[Subscriber, Changes],
        room: RoomState,
        subscribers: Collection[Subscriber],
        change: Change,
        changed: PresenceChanged,
    ) -> None:
        in_room = self._in_room(room, change)
        # A user who has just connected is not notified of it.
        arrives = change.before == "offline"
        for subscriber in subscribers:
            if arrives and subscriber.user == change.user:
                continue
            events = pending.setdefault(subscriber, {})
            if in_room is not None:
                events[in_room] = [room.room]
            events.setdefault(changed, []).append(room.room)  # sent once for all shared rooms

    def _in_room(self, room: RoomState, change: Change) -> UserLeft | UserJoined | None:
        """Return the join or leave event that a room receives in addition to the change of presence."""
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
        """Apply a message of another node."""
        try:
            self._gossip.receive(kind, payload, self._when())
        except msgspec.MsgspecError:
            # The signature is valid, so the sender runs another version. The message counts as lost.
            log.warning("presence_unreadable", extra={"kind": kind})

    def resync(self) -> None:
        """Exchange the complete state with the other nodes, after an outage of the bus."""
        self._gossip.renew(self._clock())

    def _publish(self, messages: list[EncodedMessage]) -> None:
        for kind, payload in messages:
            self._relay.publish(kind, payload)

    def _when(self) -> Moment:
        return Moment(self._clock(), int(time.time() * 1000))


def _presence(change: Change) -> PresenceChanged:
    return PresenceChanged(user_id=change.user, status=change.status, last_seen=_timestamp(change.seen))


def _timestamp(milliseconds: int | None) -> str | None:
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC)) if milliseconds is not None else None
