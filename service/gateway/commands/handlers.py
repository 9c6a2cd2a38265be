"""The handler of each command, by wire name; all endpoints share them.

A handler returns a `Reply` and may raise any `OnRecordError`. `connect` precedes all commands and is handled in
`service.gateway.commands.connect`.
"""

from asyncio import Future
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from service.chat import AccountBlocks, Chat, CommandResult, ReadMarkers, Reports
from service.domain import commands as domain
from service.domain.commands import (
    MarkUnread,
    MoveReadMarker,
    PostMessage,
    ReportMessage,
    ResolveReport,
    RoomCommand,
    SetBlock,
    UpdateRoom,
)
from service.domain.permissions import require_voice
from service.domain.room_state import RoomState
from service.errors import Malformed, NotAllowed, OnRecordError
from service.gateway.auth.claims import CHAT
from service.gateway.auth.refusal_log import RefusalLog
from service.gateway.auth.tokens import TokenVerifier
from service.gateway.commands.fingerprint import command_fingerprint, ref_of
from service.gateway.commands.join import JoinHandlers
from service.gateway.commands.reply import Later, Reply, naming
from service.gateway.notices.accounts import notify_block
from service.gateway.queries.people import PeopleQueries
from service.gateway.queries.queries import Queries
from service.gateway.queries.reports import ReportQueries
from service.gateway.queries.views import Views
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.session import Session
from service.presence.presence import Presence
from service.presence.typing import Typing
from service.protocol import commands as wire
from service.protocol.acks import AuthRefreshAck, MessageSendAck, ReportAck, UserBlocksAck
from service.protocol.events import timestamp
from service.realtime.user_cache import UserCache

Handler = Callable[[Session, Any], Awaitable[Reply]]

MAPPED: dict[type[wire.RoomFrame], type[RoomCommand]] = {
    wire.RoomLeave: domain.LeaveRoom,
    wire.RoomArchive: domain.ArchiveRoom,
    wire.RoomReopen: domain.ReopenRoom,
    wire.RoomKick: domain.RemoveMember,
    wire.RoomUnban: domain.UnbanMember,
    wire.RoomMute: domain.MuteMember,
    wire.RoomUnmute: domain.UnmuteMember,
    wire.RoomRole: domain.ChangeRole,
    wire.MessageEdit: domain.EditMessage,
    wire.MessageDelete: domain.DeleteMessage,
    wire.MessageReact: domain.AddReaction,
    wire.MessageUnreact: domain.RemoveReaction,
    wire.MessagePin: domain.PinMessage,
    wire.MessageUnpin: domain.UnpinMessage,
}
"""Frames whose fields map one-to-one to those of a domain command, and whose ack has no field of its own."""

_NAMES = {"room_id": "room", "user_id": "user", "message_id": "message"}
_NOT_MAPPED = ("type", "ref")


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """The handlers of all commands but reads, `room:create` and `room:join`."""

    chat: Chat
    markers: ReadMarkers
    views: Views
    typing: Typing
    presence: Presence
    sessions: SessionRegistry
    tokens: TokenVerifier
    refusals: RefusalLog
    reports: Reports
    report_queries: ReportQueries
    blocks: AccountBlocks
    people: UserCache
    people_queries: PeopleQueries
    max_mentions: int

    def by_type(self, joins: JoinHandlers, queries: Queries) -> dict[str, Handler]:
        """Return the handlers of all commands, by wire name."""
        return {
            wire.RoomCreate.TYPE: joins.create,
            wire.RoomJoin.TYPE: joins.join,
            wire.RoomInvite.TYPE: joins.invite,
            wire.RoomBan.TYPE: self.ban,
            wire.RoomList.TYPE: queries.list_rooms,
            wire.RoomDirectory.TYPE: queries.directory,
            wire.RoomMembers.TYPE: queries.members,
            wire.MessageSend.TYPE: self.send,
            wire.MessageHistory.TYPE: queries.history,
            wire.MessageRead.TYPE: self.read,
            wire.MessageUnread.TYPE: self.read,
            wire.MessagePins.TYPE: queries.pins,
            wire.MessageReport.TYPE: self.report,
            wire.ReportList.TYPE: self.report_queries.of_room,
            wire.ReportResolve.TYPE: self.resolve_report,
            wire.TypingStart.TYPE: self.typing_start,
            wire.TypingStop.TYPE: self.typing_stop,
            wire.PresenceSet.TYPE: self.set_presence,
            wire.Ping.TYPE: self.ping,
            wire.AuthRefresh.TYPE: self.refresh,
            wire.UserBlock.TYPE: self.block,
            wire.UserUnblock.TYPE: self.block,
            wire.UserBlocks.TYPE: self.list_blocks,
            wire.UserFind.TYPE: self.people_queries.find,
            wire.RoomUpdate.TYPE: self.update,
            **{frame.TYPE: self._mapped(command) for frame, command in MAPPED.items()},
        }

    async def update(self, session: Session, frame: wire.RoomUpdate) -> Reply:
        """`room:update`."""
        if frame.name is None and frame.topic is None:
            raise Malformed(problem="Give a name, a topic or both - at '$'")
        return await self._mapped(UpdateRoom)(session, frame)

    async def ban(self, session: Session, frame: wire.RoomBan) -> Reply:
        """`room:ban`: of outsiders too, whose ids may be mistyped."""
        unknown = await self.people_queries.unknown([frame.user_id])
        answer = await self.chat.submit(
            to_domain(frame, domain.BanMember), session.user, ref_of(frame), command_fingerprint(frame)
        )
        return Later(answer, partial(naming, unknown=unknown))

    async def send(self, session: Session, frame: wire.MessageSend) -> Reply:
        """`message:send`."""
        command = post_of(frame)
        refusal = None
        if len(set(frame.mentions)) > self.max_mentions:
            problem = f"A message mentions at most {self.max_mentions} users - at '$.mentions'"
            refusal = Malformed(problem=problem)
        answer = await self.chat.submit(
            command, session.user, command.ref, command_fingerprint(frame), refusal
        )
        if self.typing.is_typing(frame.room_id, session.user):
            answer.add_done_callback(partial(self._posted, frame.room_id, session.user))
        return Later(answer, sent)

    def _posted(self, room: str, user: str, answer: Future[CommandResult]) -> None:
        """Stop the typing of a user whose message was recorded now, and not by an earlier attempt."""
        if not answer.cancelled() and answer.exception() is None and answer.result().fresh:
            self.typing.clear(room, user)

    async def read(self, session: Session, frame: wire.MessageRead | wire.MessageUnread) -> Reply:
        """`message:read` and `message:unread`."""
        move = MoveReadMarker if isinstance(frame, wire.MessageRead) else MarkUnread
        command = move(room=frame.room_id, message=frame.message_id)
        return Later(
            await self.markers.move(command, session.user, ref_of(frame), command_fingerprint(frame))
        )

    async def report(self, session: Session, frame: wire.MessageReport) -> Reply:
        """`message:report`."""
        command = ReportMessage(room=frame.room_id, message=frame.message_id, reason=frame.reason)
        result = await self.reports.report(command, session.user, ref_of(frame), command_fingerprint(frame))
        return ReportAck(at=timestamp(result.at))

    async def resolve_report(self, session: Session, frame: wire.ReportResolve) -> Reply:
        """`report:resolve`."""
        command = ResolveReport(
            room=frame.room_id, report=frame.report_id, outcome=frame.outcome, note=frame.note
        )
        result = await self.reports.resolve(command, session.user, ref_of(frame), command_fingerprint(frame))
        return ReportAck(at=timestamp(result.at))

    async def block(self, session: Session, frame: wire.UserBlock | wire.UserUnblock) -> Reply:
        """`user:block` and `user:unblock`: the ack, and an event to the user's own connections."""
        command = SetBlock(user=frame.user_id, blocked=isinstance(frame, wire.UserBlock))
        unknown = await self.people_queries.unknown([command.user]) if command.blocked else ()
        result = await self.blocks.set_block(command, session.user, ref_of(frame), command_fingerprint(frame))
        if result.fresh:
            notify_block(self.sessions, session.user, command.user, blocked=command.blocked)
            if command.blocked:
                self.typing.hide(command.user, session.user)
        return naming(result, unknown)

    async def list_blocks(self, session: Session, frame: wire.UserBlocks) -> Reply:
        """`user:blocks`."""
        await self.people.load([session.user])
        blocked = sorted(self.people.account(session.user).blocked)
        rest = [user for user in blocked if frame.after is None or user > frame.after]
        return UserBlocksAck(user_ids=rest[: frame.limit], has_more=len(rest) > frame.limit)

    async def typing_start(self, session: Session, frame: wire.TypingStart) -> Reply:
        """`typing:start`; a direct room of two does not show it if the other person has blocked the user."""
        state = await self.views.ask(_with_voice, frame.room_id, session.user)
        if await self.chat.blocks.shuts_out(state, session.user):
            return None
        self.typing.start(frame.room_id, session.user, session.id)
        return None

    async def typing_stop(self, session: Session, frame: wire.TypingStop) -> Reply:
        """`typing:stop`."""
        self.typing.stop(frame.room_id, session.user, session.id)
        return None

    async def set_presence(self, session: Session, frame: wire.PresenceSet) -> Reply:
        """`presence:set`."""
        self.presence.set(session.user, session.id, frame.status)
        return None

    async def ping(self, _session: Session, _frame: wire.Ping) -> Reply:
        """`ping`."""
        return None

    async def refresh(self, session: Session, frame: wire.AuthRefresh) -> Reply:
        """`auth:refresh`."""
        try:
            identity = await self.tokens.verify(frame.token)
            identity.require(CHAT)
            if identity.user != session.user:
                raise NotAllowed(problem="The new token is another user's.")
        except OnRecordError as error:
            self.refusals.write(session.door, session.address, error.code, error)
            raise
        self.sessions.renew(session, identity.expires_at)
        return AuthRefreshAck(expires_at=timestamp(identity.expires_at))

    def _mapped(self, command: type[RoomCommand]) -> Handler:
        async def handle(session: Session, frame: wire.RoomFrame) -> Reply:
            answer = await self.chat.submit(
                to_domain(frame, command), session.user, ref_of(frame), command_fingerprint(frame)
            )
            return Later(answer)

        return handle


def to_domain(frame: wire.RoomFrame, command: type[RoomCommand]) -> RoomCommand:
    """Return a command with the fields of a frame."""
    fields = {name: getattr(frame, name) for name in frame.__struct_fields__ if name not in _NOT_MAPPED}
    return command(**{_NAMES.get(name, name): value for name, value in fields.items()})


def _with_voice(state: RoomState, user: str, at: datetime) -> RoomState:
    require_voice(state, user, at)
    return state


def post_of(frame: wire.MessageSend) -> PostMessage:
    """Return the command in `message:send`."""
    return PostMessage(
        room=frame.room_id,
        content=frame.content,
        ref=ref_of(frame),
        reply_to=frame.reply_to,
        mentions=frame.mentions,
    )


def sent(result: CommandResult) -> MessageSendAck:
    """Return the ack of `message:send`."""
    return MessageSendAck(
        seq=result.seq, at=timestamp(result.at), message_id=result.seq, dropped=result.dropped
    )
