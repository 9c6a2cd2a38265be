"""What every door does with whoever comes: check them, let them in, carry out their commands, let them go.

The rule: commands of one connection are begun one after the other, each is answered whatever becomes of it, and one
that fails ends neither the connection nor any other command.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import islice

from starlette.datastructures import Headers

from service.chat import CommandResult
from service.domain.account import require_standing
from service.domain.streams import room_stream
from service.errors import (
    NotAllowed,
    NotReady,
    OnRecordError,
    Refusal,
    TokenInvalid,
    TooManyConnections,
    TooManyRequests,
    TooManyRooms,
    TooManyStrangers,
    Trouble,
    Unavailable,
)
from service.gateway.auth.origins import allowed_origin
from service.gateway.auth.tokens import CHAT, Identity
from service.gateway.commands.connect import ConnectHandler
from service.gateway.commands.handlers import Handlers
from service.gateway.commands.reply import Later, Reply, Then
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.gateway.session.counters import OK, UNREAD, outcome
from service.gateway.session.session import Session
from service.protocol.acks import Ack
from service.protocol.close_codes import Close
from service.protocol.commands import Connect, Frame, MessageRead

MAX_REFUSED = 100
"""Commands in a row that may be refused as too many, before the connection is closed with 4009."""

MAX_UNAUTHENTICATED = 10_000
"""Connections at a door that have not said yet who they are: they cost their sender next to nothing."""

MAX_CLIENT = 200
"""Characters of what a client says of itself that are put on the record."""

TRY_AGAIN = 5.0
"""Seconds after which a user with too many connections may try again."""

log = logging.getLogger("onrecord.door")


class Dispatcher:
    """The part of the doors that is the same for all; `door` names one in the metrics."""

    def __init__(self, services: Services, door: str) -> None:
        self._s = services
        self._door = door
        self._tally = services.tally
        views = Views(services)
        self._handlers = Handlers(services, views)
        self._resuming = ConnectHandler(services, views)

    def check_admission(
        self, headers: Headers, address: str | None, strangers: int | None
    ) -> OnRecordError | None:
        """Return why a request from an address is refused before anybody is asked who they are.

        `strangers` is how many have not said so yet; None where the request opens no connection.
        """
        if not allowed_origin(headers, self._s.settings.origins):
            return self._counted(
                "foreign_origin", NotAllowed(problem="Pages of this origin may not connect here.")
            )
        if strangers is None:
            return None
        try:
            self._s.handshakes.take(address)
        except TooManyRequests as error:
            return self._counted(error.code, error)
        if not self._s.readiness.ready:
            return self._counted("not_ready", NotReady())
        if strangers >= MAX_UNAUTHENTICATED:
            return self._counted("too_many_strangers", TooManyStrangers())
        return None

    def _counted(self, became: str, error: OnRecordError) -> OnRecordError:
        self.count_handshake(became)
        return error

    async def authenticate(self, token: str | None) -> Identity:
        """Return who asks to be let in.

        Raises:
            TokenInvalid, TokenExpired, NotAllowed, TooManyConnections: they may not come in.
            Unavailable: whether they may cannot be told now.
        """
        if token is None:
            raise TokenInvalid(problem="none was given")
        identity = await self._s.tokens.verify(token)
        identity.require(CHAT)
        self.check_connection_limit(identity)
        return identity

    def check_rooms(self, frame: Connect) -> None:
        """Do nothing where a connection may hear as many rooms as it asks for.

        Raises:
            TooManyRooms: it may not.
        """
        if len(frame.rooms) > self._s.settings.max_rooms:
            raise TooManyRooms(limit=self._s.settings.max_rooms)

    def check_connection_limit(self, identity: Identity) -> None:
        """Do nothing where a user may have one more connection.

        Raises:
            TooManyConnections: they may not.
        """
        if self._s.sessions.full(identity.user, self._s.presence.elsewhere(identity.user)):
            raise TooManyConnections(retryAfter=TRY_AGAIN)

    async def admit(self, session: Session, identity: Identity, frame: Connect) -> None:
        """Let a session in, and send it what followed its cursors.

        Raises:
            OnRecordError: that cannot be done (now); the session has ended.
        """
        self._s.sessions.add(session)
        try:
            await self._s.people.load([identity.user])
            require_standing(self._s.people.standing(identity.user))
            if identity.name:
                await self._s.chat.name(identity.user, identity.name)
            await self._resuming.connect(session, frame)
            self.count_handshake(OK)
        except BaseException as error:
            if session.connected and isinstance(error, Exception):
                session.close(Close.SHUTTING_DOWN, "cannot serve now; come back")
            await self.end(session)
            if isinstance(error, Refusal) or not isinstance(error, Exception):
                raise
            log.error("connect_failed", exc_info=None if isinstance(error, Trouble) else error)  # noqa: TRY400 - Trouble is known
            if isinstance(error, Trouble):
                raise
            raise Unavailable from error

    def count_handshake(self, became: str) -> None:
        """Count somebody who came, and what became of it."""
        self._tally.handshakes[self._door, became] += 1

    def count_close(self, code: int) -> None:
        """Count a connection that ended, at whatever point."""
        self._tally.closes[self._door, code] += 1

    async def dispatch(self, session: Session, tag: str | None, decode: Callable[[], Frame]) -> None:
        """Carry out one command, and answer it."""
        began, kind = asyncio.get_running_loop().time(), UNREAD
        try:
            self._s.rate.take(session.user)
            session.refused = 0
            self._s.presence.touch(session.user, session.id)
            frame = decode()
            kind = frame.type
            await session.ready()
            reply = await self._handlers.by_type[kind](session, frame)
            _answer(session, tag, reply)
        except OnRecordError as error:
            self._answered(kind, began, error)
            self._refuse(session, tag, error)
        except Exception as error:
            self._answered(kind, began, error)
            log.exception("command_failed", extra={"session": session.id})
            session.refuse(tag, Unavailable())
        else:
            if isinstance(reply, Later):
                reply.answer.add_done_callback(partial(self._answered_later, kind, began))
            else:
                self._answered(kind, began, None, reply.receipt if isinstance(reply, Then) else None)

    def _answered_later(self, kind: str, began: float, answer: "asyncio.Future[CommandResult]") -> None:
        error = Unavailable() if answer.cancelled() else answer.exception()
        self._answered(kind, began, error, None if error else answer.result())

    def _answered(
        self, kind: str, began: float, error: BaseException | None, receipt: CommandResult | None = None
    ) -> None:
        """Count a command that was begun at a time of the loop and is answered now; trace it where that is on."""
        self._tally.answered(kind, error, began)
        if self._s.traces is None:
            return
        place, fresh = None, False
        if receipt is not None and kind != MessageRead.TYPE:  # whose marker is in a stream of its own
            place, fresh = (room_stream(receipt.room), receipt.seq, receipt.at), receipt.fresh
        self._s.traces.command(kind, outcome(error), began, place, fresh=fresh)

    @staticmethod
    def _refuse(session: Session, tag: str | None, error: OnRecordError) -> None:
        session.refuse(tag, error)
        if isinstance(error, TooManyRequests):
            session.refused += 1
            if session.refused > MAX_REFUSED:
                session.close(Close.TOO_MANY_REQUESTS, "too many requests")

    async def end(self, session: Session) -> None:
        """Let a session go whose connection has ended, or is ending."""
        await self._s.attendance.end(session)


def described(user_agent: str | None) -> str | None:
    """Return what a client says of itself, as far as it can be kept."""
    if not user_agent:
        return None
    return "".join(islice(filter(str.isprintable, user_agent), MAX_CLIENT)) or None


def _answer(session: Session, tag: str | None, reply: Reply) -> None:
    if isinstance(reply, Later):
        session.ack_later(tag, reply.answer, reply.ack)
    elif isinstance(reply, Then):
        session.ack(tag, reply.ack)
        reply.after()
    elif reply is not None:
        session.ack(tag, reply)
    elif tag is not None:
        session.ack(tag, Ack())
