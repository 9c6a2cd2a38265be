"""What each command does: the one set of handlers behind every door.

A handler returns the ack; `Later` where it is known only after a commit; `Then` where something follows it; or None
where only those are answered who ask for it. It may raise any `OnRecordError`. `room:join` and `connect` splice what
was into what comes: `service.live.hub`.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from service.chat import Receipt
from service.domain.commands import JoinRoom, MoveReadMarker, OpenRoom, PostMessage, RoomCommand, UpdateRoom
from service.domain.rights import require_voice
from service.domain.room import require_member, visible_until
from service.domain.streams import direct_room
from service.errors import Banned, Malformed, NotAllowed, NotAMember, ProjectionBehind, RoomNotFound
from service.protocol import commands as wire
from service.protocol.acks import (
    Ack,
    AuthRefreshAck,
    MessageHistoryAck,
    MessageSendAck,
    RecordedAck,
    RoomCreateAck,
    RoomJoinAck,
    RoomListAck,
    RoomMembersAck,
)
from service.protocol.commands import PROTOCOL
from service.protocol.events import (
    Connected,
    Message,
    RoomHead,
    timestamp,
)
from service.wire.auth import CHAT
from service.wire.plain import PLAIN, as_command
from service.wire.services import Services
from service.wire.session import Session
from service.wire.telling import listen_quietly
from service.wire.views import Views

log = logging.getLogger("onrecord.handlers")

HISTORY_ON_JOIN = 50
MEMBERS_PAGE = 200


class Asker(Protocol):
    """Who asks to see something, through whichever door; a `Session` is one."""

    @property
    def user(self) -> str:
        """The user's id."""


def recorded(receipt: Receipt) -> RecordedAck:
    """Return the ack of a command that says no more than that it is recorded."""
    return RecordedAck(seq=receipt.seq, at=timestamp(receipt.at))


class Later(msgspec.Struct, frozen=True):
    """An ack that waits for a commit; `ack` makes it of what the commit said."""

    answer: Any
    ack: Callable[[Receipt], Ack] = recorded


class Then(msgspec.Struct, frozen=True):
    """An ack, what is sent right after it, and what it says of the commit."""

    ack: Ack
    after: Callable[[], None]
    receipt: Receipt


Reply = Ack | Later | Then | None
Handler = Callable[[Session, Any], Awaitable[Reply]]


class Handlers:
    """The commands, by wire name, over the node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._views = Views(services)
        self.by_type: dict[str, Handler] = {
            wire.RoomCreate.TYPE: self.create,
            wire.RoomJoin.TYPE: self.join,
            wire.RoomList.TYPE: self.list_rooms,
            wire.RoomMembers.TYPE: self.members,
            wire.MessageSend.TYPE: self.send,
            wire.MessageHistory.TYPE: self.history,
            wire.MessageRead.TYPE: self.read,
            wire.TypingStart.TYPE: self.typing_start,
            wire.TypingStop.TYPE: self.typing_stop,
            wire.PresenceSet.TYPE: self.presence,
            wire.AuthRefresh.TYPE: self.refresh,
            wire.RoomUpdate.TYPE: self.update,
            **{frame.TYPE: self._plain(command) for frame, command in PLAIN.items()},
        }

    async def connect(self, session: Session, frame: wire.Connect) -> None:
        """Answer `connect`: say of each room whether the cursor holds, then send what followed it, then go live."""
        starts: dict[str, int] = {}
        heads: dict[str, RoomHead] = {}
        same_epoch = frame.epoch is None or frame.epoch == self._s.readiness.epoch
        for room, cursor in frame.rooms.items():
            heads[room], start = await self._resume(session.user, room, cursor, same_epoch=same_epoch)
            if start is not None:
                starts[room] = start
        self._s.attendance.begin(session)
        session.welcome(
            Connected(
                protocol=PROTOCOL,
                user_id=session.user,
                session=session.id,
                epoch=self._s.readiness.epoch,
                expires_at=timestamp(session.expires_at),
                ping_interval=self._s.settings.ping_interval,
                rooms=heads,
            )
        )
        for room, start in starts.items():
            if heads[room].reason != "not_a_member":
                await self._send_receipts(session, room)
            session.listen(room, start)
            await session.drained()

    async def _send_receipts(self, session: Session, room: str) -> None:
        self._s.hub.arrive(session, room)
        try:
            session.emit(await self._views.receipts(room))
        except ProjectionBehind as error:
            # Coming back needs the log alone; receipts arrive again as people read on.
            log.warning("receipts_skipped", extra={"room": room, "behind": error.data["behind"]})

    async def create(self, session: Session, frame: wire.RoomCreate) -> Reply:
        """`room:create`."""
        room = frame.room_id or _new_room_id(frame, session.user)
        session.check_room(room)
        command = OpenRoom(room=room, name=frame.name, visibility=frame.visibility, members=frame.members)
        await self._s.people.load(frame.members)
        answer = await self._s.chat.submit(command, session.user, _ref(frame), said(frame))
        receipt = await answer
        await self._s.hub.reach(receipt.room, receipt.seq)
        at = timestamp(receipt.at)
        acked = RoomCreateAck(seq=receipt.seq, at=at, room_id=receipt.room)
        # The direct room of the same people may have been there, and be long; a room is opened by its first events.
        after = 0 if receipt.seq == 1 + len({session.user, *frame.members}) else None
        # A retry is for the connection that sends it: the user's others, and the other members (`Telling`), heard of
        # the room the first time.
        own = self._s.sessions.of_user(session.user)

        def listen() -> None:
            for hearer in own if receipt.fresh else [session]:
                if hearer.connected:
                    listen_quietly(hearer, receipt.room, after)

        return Then(acked, listen, receipt)

    async def join(self, session: Session, frame: wire.RoomJoin) -> Reply:
        """`room:join`: the ack, then members, receipts and history, then everything that follows."""
        room = frame.room_id
        session.check_room(room)
        command = JoinRoom(room=room, create=self._s.settings.join_creates)
        receipt = await (await self._s.chat.submit(command, session.user, _ref(frame), said(frame)))
        feed = await self._s.hub.reach(room, receipt.seq)
        at, epoch = timestamp(receipt.at), self._s.readiness.epoch
        acked = RoomJoinAck(seq=receipt.seq, at=at, head=feed.head, epoch=epoch)
        if session.user not in feed.state.members:
            return acked  # a retry by somebody who has left since: the ack is all they are owed
        cursor = self._join_cursor(receipt, frame.after, feed.head)
        if not session.hears(room):
            self._s.hub.arrive(session, room)
        # All that can fail comes before the ack, so that a retry finds nothing half done.
        snapshots = (
            await self._views.members(room, None, MEMBERS_PAGE),
            await self._views.receipts(room),
            await self._views.history(room, limit=HISTORY_ON_JOIN, until=cursor),
        )

        def listen() -> None:
            for snapshot in snapshots:
                session.emit(snapshot)
            _wrote(session, snapshots[-1].messages)
            if frame.after is not None or not session.hears(room):
                session.listen(room, cursor)

        return Then(acked, listen, receipt)

    async def update(self, session: Session, frame: wire.RoomUpdate) -> Reply:
        """`room:update`."""
        if frame.name is None and frame.topic is None:
            raise Malformed(problem="Give a name, a topic or both - at '$'")
        return await self._plain(UpdateRoom)(session, frame)

    async def list_rooms(self, asker: Asker, _frame: wire.RoomList) -> RoomListAck:
        """`room:list`."""
        summaries = await self._views.summaries(asker.user)
        for summary in summaries:
            if summary.last_message is not None:
                _wrote(asker, [summary.last_message])
        return RoomListAck(rooms=summaries, invitations=await self._views.invitations(asker.user))

    async def members(self, asker: Asker, frame: wire.RoomMembers) -> RoomMembersAck:
        """`room:members`."""
        await self._views.ask(require_member, frame.room_id, asker.user)
        page = await self._views.members(frame.room_id, frame.after, frame.limit)
        return RoomMembersAck(members=page.members, has_more=page.has_more)

    async def send(self, session: Session, frame: wire.MessageSend) -> Reply:
        """`message:send`."""
        command = PostMessage(
            room=frame.room_id,
            content=frame.content,
            ref=_ref(frame),
            reply_to=frame.reply_to,
            mentions=frame.mentions,
        )
        answer = await self._s.chat.submit(command, session.user, command.ref, said(frame))
        self._s.typing.spoke(frame.room_id, session.user)
        return Later(answer, _sent)

    async def history(self, asker: Asker, frame: wire.MessageHistory) -> MessageHistoryAck:
        """`message:history`."""
        until = await self._views.ask(visible_until, frame.room_id, asker.user)
        if frame.before is not None and frame.after is not None:
            raise Malformed(problem="Give before or after, not both - at '$'")
        history = await self._views.history(
            frame.room_id, before=frame.before, after=frame.after, limit=frame.limit, until=until
        )
        _wrote(asker, history.messages)
        return MessageHistoryAck(messages=history.messages, has_more=history.has_more)

    async def read(self, session: Session, frame: wire.MessageRead) -> Reply:
        """`message:read`."""
        command = MoveReadMarker(room=frame.room_id, message=frame.message_id)
        return Later(await self._s.markers.move(command, session.user, _ref(frame), said(frame)))

    async def typing_start(self, session: Session, frame: wire.TypingStart) -> Reply:
        """`typing:start`."""
        await self._views.ask(require_voice, frame.room_id, session.user)
        self._s.typing.start(frame.room_id, session.user, session.id)
        return None

    async def typing_stop(self, session: Session, frame: wire.TypingStop) -> Reply:
        """`typing:stop`."""
        self._s.typing.stop(frame.room_id, session.user, session.id)
        return None

    async def presence(self, session: Session, frame: wire.PresenceSet) -> Reply:
        """`presence:set`."""
        self._s.presence.set(session.user, session.id, frame.status)
        return None

    async def refresh(self, session: Session, frame: wire.AuthRefresh) -> Reply:
        """`auth:refresh`."""
        identity = await self._s.tokens.verify(frame.token)
        identity.require(CHAT)
        if identity.user != session.user:
            raise NotAllowed(problem="The new token is another user's.")
        self._s.sessions.renew(session, identity.expires_at)
        return AuthRefreshAck(expires_at=timestamp(identity.expires_at))

    async def _resume(
        self, user: str, room: str, cursor: int | None, *, same_epoch: bool
    ) -> tuple[RoomHead, int | None]:
        """Return what to say of a room at `connect`, and the seq to begin after (None: nothing is to be sent)."""
        try:
            until = await self._ask(user, room)
        except RoomNotFound:
            return RoomHead(recovered=False, reason="room_not_found"), None
        except (NotAMember, Banned):
            feed = await self._s.hub.feed(room)
            return RoomHead(recovered=False, head=feed.head, reason="not_a_member"), None
        if until is not None:
            start = cursor if same_epoch and cursor is not None and cursor < until else None
            return RoomHead(recovered=False, head=until, reason="not_a_member"), start
        # Whoever is to hear the room from now on begins after the very head that is said here.
        head = (await self._s.hub.reach(room, cursor or 0)).head
        if not same_epoch:
            return RoomHead(recovered=False, head=head, reason="epoch_changed"), head
        if cursor is not None and cursor > head:
            return RoomHead(recovered=False, head=head, reason="ahead"), head
        return RoomHead(recovered=True, head=head), head if cursor is None else cursor

    async def _ask(self, user: str, room: str) -> int | None:
        return await self._views.ask(visible_until, room, user)

    def _plain(self, command: type[RoomCommand]) -> Handler:
        """Return the handler of a frame whose fields are those of the command, and whose ack has nothing of its own."""

        async def handle(session: Session, frame: wire.RoomFrame) -> Reply:
            self._s.typing.spoke(frame.room_id, session.user)
            answer = await self._s.chat.submit(
                as_command(frame, command), session.user, _ref(frame), said(frame)
            )
            return Later(answer)

        return handle

    @staticmethod
    def _join_cursor(receipt: Receipt, after: int | None, head: int) -> int:
        """Return the seq after which the joiner hears everything; the history sent before ends there."""
        if after is not None and after <= head:
            return after
        if not receipt.fresh:
            return head
        # Before one's own join; and where that is the second event, the room was opened by it.
        return 0 if receipt.seq <= 2 else receipt.seq - 1  # noqa: PLR2004


def said(frame: wire.Frame) -> bytes:
    """Return what makes a command the same command: everything that was said, but its ref.

    Fields at their defaults are left out, so that a later version with more fields knows a retry of an earlier one.
    """
    fields = {
        shown: value
        for shown, name, default in _fields(type(frame))
        if (value := getattr(frame, name)) != default
    }
    return msgspec.json.encode(fields)


@cache
def _fields(frame: type[wire.Frame]) -> tuple[tuple[str, str, object], ...]:
    """Return the fields of a frame but its ref, by their names on the wire: each with its own name and its default."""
    fields = (field for field in msgspec.structs.fields(frame) if field.name != "ref")
    return tuple(sorted((field.encode_name, field.name, field.default) for field in fields))


def _wrote(asker: object, messages: list[Message]) -> None:
    """Note, for the record of a session, that it is sent a page of messages, which has no hole."""
    if messages and isinstance(asker, Session):
        asker.wrote(messages[0].room_id, messages[0].seq, messages[-1].seq)


def _sent(receipt: Receipt) -> MessageSendAck:
    return MessageSendAck(seq=receipt.seq, at=timestamp(receipt.at), message_id=receipt.seq)


def _new_room_id(frame: wire.RoomCreate, by: str) -> str:
    """Return an id of the server's choice; the same people have one direct room, whoever opens it."""
    return direct_room((by, *frame.members)) if frame.visibility == "direct" else f"r-{uuid4().hex[:20]}"


def _ref(frame: wire.Frame) -> str:
    if frame.ref is None:
        message = "a recorded command is decoded only with a ref"
        raise AssertionError(message)
    return frame.ref
