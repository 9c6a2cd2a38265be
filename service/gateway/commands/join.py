"""`room:create` and `room:join`: how a connection comes to hear a room it has just entered.

The rule: the ack comes first, then what the room is and was, then everything that follows, without a hole; and all that
can fail is done before the ack, so that a retry finds nothing half done. `service.realtime.hub` splices what was into
what comes.
"""

from uuid import uuid4

from service.chat import CommandResult
from service.domain.commands import JoinRoom, OpenRoom
from service.domain.room import readable_until
from service.domain.streams import direct_room
from service.gateway.commands.fingerprint import command_fingerprint, ref_of
from service.gateway.commands.reply import Reply, Then
from service.gateway.notices.memberships import listen_quietly
from service.gateway.queries.queries import note_page
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.acks import RoomCreateAck, RoomJoinAck
from service.protocol.events import History, Members, Receipts, timestamp

HISTORY_ON_JOIN = 50
MEMBERS_PAGE = 200


class JoinHandlers:
    """Lets sessions into rooms."""

    def __init__(self, services: Services, views: Views) -> None:
        self._s = services
        self._views = views

    async def create(self, session: Session, frame: wire.RoomCreate) -> Reply:
        """`room:create`."""
        room = frame.room_id or _new_room_id(frame, session.user)
        session.check_room(room)
        command = OpenRoom(room=room, name=frame.name, visibility=frame.visibility, members=frame.members)
        await self._s.people.load(frame.members)
        answer = await self._s.chat.submit(command, session.user, ref_of(frame), command_fingerprint(frame))
        receipt = await answer
        await self._s.hub.reach(receipt.room, receipt.seq)
        at = timestamp(receipt.at)
        acked = RoomCreateAck(seq=receipt.seq, at=at, room_id=receipt.room)
        # The direct room of the same people may have been there, and be long; a room is opened by its first events.
        after = 0 if receipt.seq == 1 + len({session.user, *frame.members}) else None
        # A retry is for the connection that sends it: the user's others, and the other members (`MembershipNotifier`),
        # heard of the room the first time.
        own = self._s.sessions.of_user(session.user)

        def listen() -> None:
            # A retry by a user who has left since: "from now on" is nothing for them.
            ended = after is None and not self._s.hub.are_members(receipt.room, [session.user])
            for hearer in own if receipt.fresh else [session]:
                if hearer.connected and not ended:
                    listen_quietly(hearer, receipt.room, after)

        return Then(acked, listen, receipt)

    async def join(self, session: Session, frame: wire.RoomJoin) -> Reply:
        """`room:join`: the ack, then members, receipts and history, then everything that follows."""
        room = frame.room_id
        session.check_room(room)
        command = JoinRoom(room=room, create=self._s.settings.join_creates)
        receipt = await (
            await self._s.chat.submit(command, session.user, ref_of(frame), command_fingerprint(frame))
        )
        feed = await self._s.hub.reach(room, receipt.seq)
        at, epoch = timestamp(receipt.at), self._s.readiness.epoch
        if session.user not in feed.state.members:
            # A retry by a user who has left since, to whom the present head is not shown: the ack is all that follows.
            end = readable_until(feed.state, session.user, self._s.now()) or receipt.seq
            return RoomJoinAck(seq=receipt.seq, at=at, head=end, epoch=epoch)
        acked = RoomJoinAck(seq=receipt.seq, at=at, head=feed.head, epoch=epoch)
        cursor = _join_cursor(receipt, frame.after, feed.head)
        # All that can fail comes before the ack, so that a retry finds nothing half done.
        members, receipts, history = await self._snapshots(session, room, cursor)

        def listen() -> None:
            # A removal while the snapshots were read: what the user may still read is sent by `listen`, in order.
            if self._s.hub.are_members(room, [session.user]):
                for snapshot in (members, receipts, history):
                    session.emit(snapshot)
                note_page(session, history.messages)
            if frame.after is not None or not session.hears(room):
                session.listen(room, cursor)

        return Then(acked, listen, receipt)

    async def _snapshots(self, session: Session, room: str, cursor: int) -> tuple[Members, Receipts, History]:
        """Return what a room is and was; the session receives typing and markers from before that on."""
        if not session.hears(room):
            self._s.hub.pre_subscribe(session, room)
        try:
            return (
                await self._views.members(room, None, MEMBERS_PAGE),
                await self._views.receipts(room),
                await self._views.history(room, limit=HISTORY_ON_JOIN, until=cursor),
            )
        except BaseException:
            # A join that failed leaves no registration behind; a session that listens by now has one of its own.
            if not session.hears(room):
                self._s.hub.unsubscribe(session, room)
            raise


def _join_cursor(receipt: CommandResult, after: int | None, head: int) -> int:
    """Return the seq after which the joiner hears everything; the history sent before ends there."""
    if after is not None and after <= head:
        return after
    if not receipt.fresh:
        return head
    # Before one's own join; and where that is the second event, the room was opened by it.
    return 0 if receipt.seq <= 2 else receipt.seq - 1  # noqa: PLR2004


def _new_room_id(frame: wire.RoomCreate, by: str) -> str:
    """Return an id of the server's choice; the same people have one direct room, whoever opens it."""
    return direct_room((by, *frame.members)) if frame.visibility == "direct" else f"r-{uuid4().hex[:20]}"
