"""What each command does: the one set of handlers behind every door, by wire name.

A handler returns a `Reply` and may raise any `OnRecordError`. Rooms are entered in `service.gateway.commands.join`, and
what is asked for is answered in `service.gateway.queries.queries`. `connect` comes before all commands:
`service.gateway.commands.connect`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from service.chat import CommandResult
from service.domain.commands import MoveReadMarker, PostMessage, RoomCommand, UpdateRoom
from service.domain.permissions import require_voice
from service.errors import Malformed, NotAllowed
from service.gateway.auth.tokens import CHAT
from service.gateway.commands.fingerprint import command_fingerprint, ref_of
from service.gateway.commands.join import JoinHandlers
from service.gateway.commands.mapping import PLAIN, to_domain
from service.gateway.commands.reply import Later, Reply
from service.gateway.queries.queries import Queries
from service.gateway.queries.room_list import RoomList
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.acks import AuthRefreshAck, MessageSendAck
from service.protocol.events import timestamp

Handler = Callable[[Session, Any], Awaitable[Reply]]


class Handlers:
    """The commands, by wire name, over the node's services."""

    def __init__(self, services: Services, views: Views) -> None:
        self._s = services
        self._views = views
        entering = JoinHandlers(services, views)
        showing = Queries(views, RoomList(services, views))
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
        answer = await self._s.chat.submit(command, session.user, command.ref, command_fingerprint(frame))
        self._s.typing.spoke(frame.room_id, session.user)
        return Later(answer, _sent)

    async def read(self, session: Session, frame: wire.MessageRead) -> Reply:
        """`message:read`."""
        command = MoveReadMarker(room=frame.room_id, message=frame.message_id)
        return Later(
            await self._s.markers.move(command, session.user, ref_of(frame), command_fingerprint(frame))
        )

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
                to_domain(frame, command), session.user, ref_of(frame), command_fingerprint(frame)
            )
            return Later(answer)

        return handle


def _sent(receipt: CommandResult) -> MessageSendAck:
    return MessageSendAck(seq=receipt.seq, at=timestamp(receipt.at), message_id=receipt.seq)
