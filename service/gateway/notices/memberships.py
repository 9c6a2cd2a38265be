"""Telling people what others do to their memberships, on connections that do not hear the room.

An invitation is said to whoever is invited, and so is that it was taken back; somebody who is taken into a room begins
to hear it. Called for what this node records, and for what it reads that others have. The rule: what is told twice is
heard once, and nobody is told of a room that they may not know of.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec

from service.domain.events import MemberInvited, MemberJoined, MemberRemoved, Recorded
from service.domain.streams import room_of
from service.errors import OnRecordError, Refusal
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.session import Session
from service.protocol.events import Invited
from service.protocol.translate import to_wire
from service.realtime.room_feeds import RoomFeeds

MAX_TOLD = 10_000
"""Positions remembered as told; the earliest is forgotten first."""

log = logging.getLogger("onrecord.telling")


class MembershipNotifier:
    """Tells the connections of this node."""

    def __init__(self, sessions: SessionRegistry, feeds: RoomFeeds) -> None:
        self._sessions = sessions
        self._feeds = feeds
        self._told: OrderedDict[int, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self, user: str, recorded: Recorded) -> None:
        """Take an event about the membership of `user`; what they did themselves they know."""
        if recorded.by == user or recorded.position in self._told:
            return
        hearers = [one for one in self._sessions.of_user(user) if one.connected]
        if not hearers:
            return
        self._remember(recorded.position)
        if isinstance(recorded.event, MemberJoined):
            for hearer in hearers:
                listen_quietly(hearer, room_of(recorded.stream))
        elif isinstance(recorded.event, MemberInvited | MemberRemoved):
            task = asyncio.create_task(self._say(user, hearers, recorded))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def after_commit(self, news: Mapping[str, Iterable[Recorded]]) -> None:
        """Take events of any streams, right after their commit."""
        for events in news.values():
            for recorded in events:
                if isinstance(recorded.event, MemberJoined | MemberInvited | MemberRemoved):
                    self.notify(recorded.event.user, recorded)

    def clear(self) -> None:
        """Forget what was told: in a log that was restored the same position is another event."""
        self._told.clear()

    async def close(self) -> None:
        """Tell nothing more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _say(self, user: str, hearers: Iterable[Session], recorded: Recorded) -> None:
        room = room_of(recorded.stream)
        try:
            state = (await self._feeds.feed_up_to(room, recorded.seq)).state
        except OnRecordError:
            # They find it in room:list.
            log.warning("untold", extra={"room": room, "user": user})
            return
        if (
            state.left.get(user) == recorded.seq
            or user in state.members
            or state.is_banned(user, recorded.at)
        ):
            return  # a member was sent out, which those who hear the room have heard; the banned are sent nothing
        outgoing = to_wire(recorded, str)
        if isinstance(outgoing, Invited):
            if user not in state.invited:
                return  # it was taken back while the room was read, and the name with it
            outgoing = msgspec.structs.replace(outgoing, name=state.name, visibility=state.visibility)
        for hearer in hearers:
            if not hearer.closing:
                hearer.emit(outgoing)

    def _remember(self, position: int) -> None:
        self._told[position] = None
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)


def listen_quietly(session: Session, room: str, after: int | None = 0) -> None:
    """Let a connection hear a room after a seq (None: from now on), unless it hears it or as many as it may."""
    if session.hears(room):
        return
    try:
        session.check_room(room)
    except Refusal:
        return  # that connection hears as many rooms as it may; its user finds the room in room:list
    session.listen(room, after)
