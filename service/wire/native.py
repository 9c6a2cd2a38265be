"""The native door, `GET /ws`: a connection from its upgrade to its last frame, by the rules of `docs/protocol.md`."""

import asyncio
import logging
from typing import cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from service.errors import (
    NotConnected,
    OnRecordError,
    Refusal,
    TokenExpired,
    TokenInvalid,
    TooManyRequests,
    TooManyRooms,
    Trouble,
    Unavailable,
)
from service.protocol.close import Close
from service.protocol.commands import PROTOCOL, Connect
from service.protocol.native import NotAFrame, decode, decode_connect, encode_error, parse, ref_of
from service.wire.auth import Identity, bearer
from service.wire.frames import text_frame
from service.wire.handlers import Handlers, Later
from service.wire.services import Services
from service.wire.session import Session
from service.wire.transport import EXTENSION, Transport

MAX_REFUSED = 100
"""Commands in a row that may be refused as too many, before the connection is closed with 4009."""

MAX_CLIENT = 200
"""Characters of what a client says of itself that are put on the record."""

log = logging.getLogger("onrecord.door")


class _Closed(Exception):
    """The connection is over; the transport was told why."""


class NativeDoor:
    """The endpoint of `/ws`."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._handlers = Handlers(services)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection."""
        if not allowed_origin(websocket.headers, self._s.settings.origins):
            await websocket.send_denial_response(PlainTextResponse("This origin is not allowed.", 403))
            return
        if not self._s.readiness.ready:
            await websocket.send_denial_response(
                PlainTextResponse("The log cannot be reached yet; come back.", 503, {"Retry-After": "1"})
            )
            return
        early = self._identify(bearer(websocket.headers.get("authorization")))
        if isinstance(early, Identity) and self._s.sessions.full(early.user):
            await websocket.send_denial_response(PlainTextResponse("Too many connections of this user.", 429))
            return
        await websocket.accept()
        transport = cast("Transport", websocket.scope["extensions"][EXTENSION])
        try:
            session = await self._connect(websocket, transport, early)
        except _Closed:
            return
        try:
            await self._converse(websocket, transport, session)
        finally:
            await self._s.attendance.end(session)

    def _identify(self, token: str | None) -> Identity | OnRecordError | None:
        if token is None:
            return None
        try:
            return self._s.tokens.verify(token)
        except (TokenInvalid, TokenExpired) as error:
            return error

    async def _connect(
        self, websocket: WebSocket, transport: Transport, early: Identity | OnRecordError | None
    ) -> Session:
        try:
            async with asyncio.timeout(self._s.settings.connect_timeout):
                frame = await self._first_frame(websocket, transport)
        except TimeoutError:
            transport.close(Close.TOKEN_INVALID, "no connect in time")
            raise _Closed from None
        if frame.protocol != PROTOCOL:
            transport.close(Close.PROTOCOL_VERSION, f"this server speaks protocol {PROTOCOL}")
            raise _Closed
        identity = self._identify(frame.token) if frame.token is not None else early
        if not isinstance(identity, Identity):
            expired = isinstance(identity, TokenExpired)
            reason = str(identity) if identity else "a token is needed"
            transport.close(Close.TOKEN_EXPIRED if expired else Close.TOKEN_INVALID, reason[:100])
            raise _Closed
        if self._s.sessions.full(identity.user):
            transport.close(Close.TOO_MANY_REQUESTS, "too many connections of this user")
            raise _Closed
        session = Session(transport, self._s.hub, identity, self._s.settings.max_rooms)
        session.address = websocket.client.host if websocket.client else None
        session.client = described(websocket.headers.get("user-agent"))
        await self._open(transport, session, identity, frame)
        return session

    async def _open(self, transport: Transport, session: Session, identity: Identity, frame: Connect) -> None:
        self._s.sessions.add(session)
        try:
            await self._s.people.load([identity.user])
            if identity.name:
                await self._s.chat.name(identity.user, identity.name)
            await self._handlers.connect(session, frame)
        except BaseException as error:
            if isinstance(error, Exception):
                transport.close(Close.SHUTTING_DOWN, "cannot serve now; come back")
            await self._s.attendance.end(session)
            if not isinstance(error, Exception):
                raise
            log.error("connect_failed", exc_info=None if isinstance(error, Trouble) else error)  # noqa: TRY400 - Trouble is known
            raise _Closed from error

    async def _first_frame(self, websocket: WebSocket, transport: Transport) -> Connect:
        """Return the `connect` frame; until it has come, no other is looked at."""
        while True:
            text = await self._receive(websocket, transport)
            value = self._parse(transport, text)
            try:
                return self._as_connect(text, value)
            except Refusal as error:
                transport.write(text_frame(encode_error(ref_of(value), error)))

    def _as_connect(self, text: str, value: dict[str, object]) -> Connect:
        if value.get("type") != Connect.TYPE:
            raise NotConnected
        frame = decode_connect(text, value)
        if len(frame.rooms) > self._s.settings.max_rooms:
            raise TooManyRooms(limit=self._s.settings.max_rooms)
        return frame

    async def _converse(self, websocket: WebSocket, transport: Transport, session: Session) -> None:
        refused = 0
        while True:
            try:
                text = await self._receive(websocket, transport)
                value = self._parse(transport, text)
            except _Closed:
                return
            try:
                self._s.rate.take(session.user)
                refused = 0
                await self._answer(session, text, value)
            except TooManyRequests as error:
                refused += 1
                session.refuse(ref_of(value), error)
                if refused > MAX_REFUSED:
                    transport.close(Close.TOO_MANY_REQUESTS, "too many requests")
            except OnRecordError as error:
                session.refuse(ref_of(value), error)
            except Exception:
                # One command's failure ends neither the connection nor any other command.
                log.exception("command_failed", extra={"session": session.id})
                session.refuse(ref_of(value), Unavailable())

    async def _answer(self, session: Session, text: str, value: dict[str, object]) -> None:
        self._s.presence.touch(session.user, session.id)
        frame = decode(text, value)
        await session.ready()
        reply = await self._handlers.by_type[frame.type](session, frame)
        if isinstance(reply, Later):
            session.ack_later(frame.ref, reply.answer, reply.ack)
        elif reply is not None:
            session.ack(frame.ref, reply)

    @staticmethod
    async def _receive(websocket: WebSocket, transport: Transport) -> str:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise _Closed
        text = message.get("text")
        if text is None:
            transport.close(Close.MALFORMED, "text frames only")
            raise _Closed
        return cast("str", text)

    @staticmethod
    def _parse(transport: Transport, text: str) -> dict[str, object]:
        try:
            return parse(text)
        except NotAFrame as error:
            transport.close(Close.MALFORMED, str(error))
            raise _Closed from error


def described(user_agent: str | None) -> str | None:
    """Return what a client says of itself, as far as it can be kept."""
    if not user_agent:
        return None
    return "".join(char for char in user_agent if char.isprintable())[:MAX_CLIENT] or None


def allowed_origin(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """Return whether a page of the request's `Origin` (RFC 6454) may come in; a client that sends none is no page.

    Without a list the page has to come from this very server, as its `Host` names it.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    if allowed:
        return origin in allowed
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False  # no URL at all
