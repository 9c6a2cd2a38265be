"""What each command does: the one set of handlers behind every door, by wire name.

A handler returns a `Reply` and may raise any `OnRecordError`. Rooms are entered in `service.wire.entering`, and what is
asked for is answered in `service.wire.showing`. `connect` comes before all commands: `service.wire.resuming`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from service.chat import Receipt
from service.domain.commands import MoveReadMarker, PostMessage, RoomCommand, UpdateRoom
from service.domain.rights import require_voice
from service.errors import Malformed, NotAllowed
from service.protocol import commands as wire
from service.protocol.acks import AuthRefreshAck, MessageSendAck
from service.protocol.events import timestamp
from service.wire.auth import CHAT
from service.wire.entering import Entering
from service.wire.listing import Listing
from service.wire.plain import PLAIN, as_command
from service.wire.replies import Later, Reply
from service.wire.said import ref_of, said
from service.wire.services import Services
from service.wire.session import Session
from service.wire.showing import Showing
from service.wire.views import Views

Handler = Callable[[Session, Any], Awaitable[Reply]]


class Handlers:
    """The commands, by wire name, over the node's services."""

    def __init__(self, services: Services, views: Views) -> None:
        self._s = services
        self._views = views
        entering = Entering(services, views)
        showing = Showing(views, Listing(services, views))
        self.by_type: dict[str, Handler] = {
            wire.RoomCreate.TYPE: entering.create,
            wire.RoomJoin.TYPE: entering.join,
            wire.RoomList.TYPE: showing.list_rooms,
            wire.RoomMembers.TYPE: showing.members,
            wire.MessageSend.TYPE: self.send,
            wire.MessageHistory.TYPE: showing.history,
            wire.MessageRead.TYPE: self.read,
            wire.TypingStart.TYPE: self.typing_start,
            wire.TypingStop.TYPE: self.typing_stop,
            wire.PresenceSet.TYPE: self.presence,
            wire.AuthRefresh.TYPE: self.refresh,
            wire.RoomUpdate.TYPE: self.update,
            **{frame.TYPE: self._plain(command) for frame, command in PLAIN.items()},
        }

    async def update(self, session: Session, frame: wire.RoomUpdate) -> Reply:
        """`room:update`."""
        if frame.name is None and frame.topic is None:
            raise Malformed(problem="Give a name, a topic or both - at '$'")
        return await self._plain(UpdateRoom)(session, frame)

    async def send(self, session: Session, frame: wire.MessageSend) -> Reply:
        """`message:send`."""
        command = PostMessage(
            room=frame.room_id,
            content=frame.content,
            ref=ref_of(frame),
            reply_to=frame.reply_to,
            mentions=frame.mentions,
        )
        answer = await self._s.chat.submit(command, session.user, command.ref, said(frame))
        self._s.typing.spoke(frame.room_id, session.user)
        return Later(answer, _sent)

    async def read(self, session: Session, frame: wire.MessageRead) -> Reply:
        """`message:read`."""
        command = MoveReadMarker(room=frame.room_id, message=frame.message_id)
        return Later(await self._s.markers.move(command, session.user, ref_of(frame), said(frame)))

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

    def _plain(self, command: type[RoomCommand]) -> Handler:
        """Return the handler of a frame whose fields are those of the command, and whose ack has nothing of its own."""

        async def handle(session: Session, frame: wire.RoomFrame) -> Reply:
            self._s.typing.spoke(frame.room_id, session.user)
            answer = await self._s.chat.submit(
                as_command(frame, command), session.user, ref_of(frame), said(frame)
            )
            return Later(answer)

        return handle


def _sent(receipt: Receipt) -> MessageSendAck:
    return MessageSendAck(seq=receipt.seq, at=timestamp(receipt.at), message_id=receipt.seq)
