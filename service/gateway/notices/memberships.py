"""Notifies users when others change their memberships, on connections that are not subscribed to the room.

An invited user receives the invitation and its withdrawal, unless the user has blocked its author; a user who is added
to a room is subscribed to it. Called after this node's commits, and for events of other nodes that the log tailer
reads.

Invariant: notices are idempotent, and never reveal a private room to outsiders.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec

from service.domain.content.names import shown_room
from service.domain.events import MemberInvited, MemberJoined, MemberRemoved, Recorded
from service.domain.streams import room_of
from service.errors import OnRecordError, Refusal
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.session import Session
from service.protocol.events import Invited
from service.protocol.translate import to_wire
from service.realtime.room_feeds import RoomFeeds
from service.realtime.user_cache import UserCache
from service.runtime.supervise import start_task

MAX_REMEMBERED = 10_000
"""Positions of past notices that are remembered; the earliest is forgotten first."""

log = logging.getLogger("onrecord.telling")


class MembershipNotifier:
    """Notifies the connections of this node."""

    def __init__(self, sessions: SessionRegistry, feeds: RoomFeeds, people: UserCache) -> None:
        self._people = people
        self._sessions = sessions
        self._feeds = feeds
        self._notified: OrderedDict[int, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self, user: str, recorded: Recorded) -> None:
        """Notify `user` of an event about their membership, unless they caused it."""
        if recorded.by == user or recorded.position in self._notified:
            return
        sessions = [session for session in self._sessions.of_user(user) if session.connected]
        if not sessions:
            return
        self._notified[recorded.position] = None
        if len(self._notified) > MAX_REMEMBERED:
            self._notified.popitem(last=False)
        if isinstance(recorded.event, MemberJoined):
            for session in sessions:
                listen_quietly(session, room_of(recorded.stream), added=True)
        elif isinstance(recorded.event, MemberInvited | MemberRemoved):
            start_task("membership notice", self._send(user, sessions, recorded), self._tasks)

    def after_commit(self, committed: Mapping[str, Iterable[Recorded]]) -> None:
        """Notify users of the events of a commit, by stream."""
        for events in committed.values():
            for recorded in events:
                if isinstance(recorded.event, MemberJoined | MemberInvited | MemberRemoved):
                    self.notify(recorded.event.user, recorded)

    def clear(self) -> None:
        """Forget past notices: a restored log has other events at the same positions."""
        self._notified.clear()

    async def close(self) -> None:
        """Stop notifying."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, user: str, sessions: Iterable[Session], recorded: Recorded) -> None:
        room = room_of(recorded.stream)
        try:
            state = (await self._feeds.feed_up_to(room, recorded.seq)).state
            await self._people.load([user])
        except OnRecordError:
            # The user finds the room in room:list.
            log.warning("untold", extra={"room": room, "user": user})
            return
        if recorded.by in self._people.account(user).blocked:
            return
        # Subscribers of the room have received the removal of a member, or the join of an invited user.
        if state.left.get(user) == recorded.seq or user in state.members:
            return
        if state.is_banned(user, recorded.at):
            return
        outgoing = to_wire(recorded, str)
        if isinstance(outgoing, Invited):
            if user not in state.invited:
                return  # the invitation was withdrawn while the room was read; the name is hidden again
            outgoing = msgspec.structs.replace(
                outgoing, name=shown_room(state.name, room), visibility=state.visibility
            )
        for session in sessions:
            if not session.closing:
                session.emit(outgoing)


def listen_quietly(session: Session, room: str, after: int | None = 0, *, added: bool) -> None:
    """Subscribe a connection to a room after a seq (None: from now on), unless it is subscribed or at its limit.

    `added` is as in `Session.listen`; such a room has a limit of its own, at which another one gives way.
    """
    if session.is_subscribed(room):
        return
    try:
        if not added:
            session.check_room(room)
    except Refusal:
        return  # the user finds the room in room:list
    session.listen(room, after, added=added)
