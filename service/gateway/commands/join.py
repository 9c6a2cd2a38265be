"""The handlers of `room:create` and `room:join`, which subscribe connections to the room.

Invariant: the ack comes first, then snapshots of the room, then every later event without a gap. Everything that can
fail happens before the ack, so a command that fails can be retried.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import uuid4

from service.chat import Chat, CommandResult
from service.domain.commands import InviteMember, JoinRoom, OpenRoom
from service.domain.room import readable_until
from service.domain.streams import direct_room
from service.errors import TooManyRooms
from service.eventstore.readiness import Readiness
from service.gateway.commands.additions import Additions
from service.gateway.commands.fingerprint import command_fingerprint, ref_of
from service.gateway.commands.reply import Later, Reply, Then, naming
from service.gateway.notices.memberships import listen_quietly
from service.gateway.queries.people import PeopleQueries
from service.gateway.queries.queries import note_page
from service.gateway.queries.views import Markers, Views
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.rooms import was_added
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.acks import RoomCreateAck, RoomJoinAck
from service.protocol.events import History, Members, timestamp
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache

HISTORY_ON_JOIN = 50
MEMBERS_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class JoinHandlers:
    """The two commands; `join_creates` allows `room:join` to create a missing room."""

    views: Views
    chat: Chat
    hub: Hub
    people: UserCache
    sessions: SessionRegistry
    readiness: Readiness
    now: Callable[[], datetime]
    join_creates: bool
    additions: Additions
    people_queries: PeopleQueries

    async def create(self, session: Session, frame: wire.RoomCreate) -> Reply:
        """`room:create`."""
        room = frame.room_id or _new_room_id(frame, session.user)
        await self._check_limit(session, room)
        command = OpenRoom(room=room, name=frame.name, visibility=frame.visibility, members=frame.members)
        others = {*frame.members} - {session.user}
        unknown = await self.people_queries.unknown(user for user in frame.members if user in others)
        answer = await self.additions.submit(
            command, len(others), session.user, ref_of(frame), command_fingerprint(frame)
        )
        result = await answer
        feed = await self.hub.feeds.feed_up_to(result.room, result.seq)
        added = was_added(feed.state, session.user)
        ack = RoomCreateAck(seq=result.seq, at=timestamp(result.at), room_id=result.room, unknown=unknown)
        # A new room is sent from its first event; a direct room may exist already, with a long history.
        after = 0 if result.seq == 2 + len(others) else None
        # A retry subscribes only the connection that sent it: the user's other connections, and the other members
        # (`MembershipNotifier`), were subscribed the first time.
        sessions = self.sessions.of_user(session.user) if result.fresh else [session]

        def listen() -> None:
            # In a retry the user may have left since the first try, and may then receive no new events.
            if after is None and not self.hub.audience.are_members(result.room, [session.user]):
                return
            for subscriber in sessions:
                if subscriber.connected:
                    listen_quietly(subscriber, result.room, after, added=added)

        return Then(ack, listen, result)

    async def invite(self, session: Session, frame: wire.RoomInvite) -> Reply:
        """`room:invite`."""
        command = InviteMember(room=frame.room_id, user=frame.user_id)
        unknown = await self.people_queries.unknown([frame.user_id])
        return Later(
            await self.additions.submit(command, 1, session.user, ref_of(frame), command_fingerprint(frame)),
            partial(naming, unknown=unknown),
        )

    async def _check_limit(self, session: Session, room: str) -> None:
        """Check the limit of rooms that the user chose; it does not cover a room that others added the user to.

        Raises:
            TooManyRooms: the limit is reached.
        """
        try:
            session.check_room(room)
        except TooManyRooms:
            if not was_added((await self.hub.feeds.feed(room)).state, session.user):
                raise

    async def join(self, session: Session, frame: wire.RoomJoin) -> Reply:
        """`room:join`: the ack, then members, receipts and history, then every later event."""
        room = frame.room_id
        await self._check_limit(session, room)
        command = JoinRoom(room=room, create=self.join_creates)
        answer = await self.chat.submit(command, session.user, ref_of(frame), command_fingerprint(frame))
        result = await answer
        feed = await self.hub.feeds.feed_up_to(room, result.seq)
        at, epoch = timestamp(result.at), self.readiness.epoch
        if session.user not in feed.state.members:
            # A retry, and the user has left since the first try: they get the ack alone, without the present head.
            end = readable_until(feed.state, session.user, self.now()) or result.seq
            return RoomJoinAck(seq=result.seq, at=at, head=end, epoch=epoch)
        ack = RoomJoinAck(seq=result.seq, at=at, head=feed.head, epoch=epoch)
        cursor = _join_cursor(result, frame.after, feed.head)
        added = was_added(feed.state, session.user)
        members, markers, history = await self._snapshots(session, room, cursor)

        unread = markers.unread_of(session.user)

        def listen() -> None:
            # A user who was removed while the snapshots were read gets the events that they may read, from `listen`.
            if self.hub.audience.are_members(room, [session.user]):
                for snapshot in (members, markers.receipts, *unread, history):
                    session.emit(snapshot)
                note_page(session, history.messages)
            if frame.after is not None or not session.is_subscribed(room):
                session.listen(room, cursor, added=added)

        return Then(ack, listen, result)

    async def _snapshots(self, session: Session, room: str, cursor: int) -> tuple[Members, Markers, History]:
        """Return the snapshots of a room. Typing and read markers are sent from before the first one is read."""
        if not session.is_subscribed(room):
            self.hub.subscriptions.pre_subscribe(session, room)
        try:
            return (
                await self.views.members(room, None, MEMBERS_PAGE),
                await self.views.markers(room),
                await self.views.history(room, session.user, limit=HISTORY_ON_JOIN, until=cursor),
            )
        except BaseException:
            # A failed join removes its registration, unless the session listens to the room by now.
            if not session.is_subscribed(room):
                self.hub.subscriptions.unsubscribe(session, room)
            raise


def _join_cursor(result: CommandResult, after: int | None, head: int) -> int:
    """Return the seq at which the history ends, and after which the joiner receives every event."""
    if after is not None and after <= head:
        return after
    if not result.fresh:
        return head
    # Just before the user's join; if that is the second event, this command also opened the room.
    return 0 if result.seq <= 2 else result.seq - 1  # noqa: PLR2004


def _new_room_id(frame: wire.RoomCreate, by: str) -> str:
    """Return a new room id; the same users share one direct room, whichever of them opens it."""
    return direct_room((by, *frame.members)) if frame.visibility == "direct" else f"r-{uuid4().hex[:20]}"
