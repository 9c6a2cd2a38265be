"""The native door, `GET /ws`: a connection from its upgrade to its last frame, by the rules of `docs/protocol.md`."""

import asyncio
from functools import partial
from typing import cast

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from service.errors import (
    AccountErased,
    AccountSuspended,
    NotAllowed,
    NotConnected,
    OnRecordError,
    Refusal,
    TokenExpired,
    TokenInvalid,
    TooManyConnections,
    Unavailable,
)
from service.protocol.acks import Ack
from service.protocol.close import Close
from service.protocol.commands import PROTOCOL, Connect
from service.protocol.events import Connected, Outgoing
from service.protocol.native import (
    NotAFrame,
    decode,
    decode_connect,
    encode,
    encode_ack,
    encode_error,
    parse,
    ref_of,
)
from service.wire.auth import bearer
from service.wire.frames import text_frame
from service.wire.origins import allowed_origin
from service.wire.reception import Reception, described
from service.wire.services import Services
from service.wire.session import Session
from service.wire.transport import ABNORMAL, EXTENSION, Transport

NATIVE = "native"

CLOSES: dict[type[OnRecordError], Close] = {
    AccountErased: Close.ERASED,
    AccountSuspended: Close.SUSPENDED,
    TokenInvalid: Close.TOKEN_INVALID,
    NotAllowed: Close.TOKEN_INVALID,
    TokenExpired: Close.TOKEN_EXPIRED,
    TooManyConnections: Close.TOO_MANY_REQUESTS,
}
"""The close codes of those who are not let in; anything else is trouble of ours, and they come back."""


def native_frame(outgoing: Outgoing) -> bytes:
    """Return an event as a complete frame."""
    return text_frame(encode(outgoing))


class _Closed(Exception):
    """The connection is over; the transport was told why."""


class NativeSession(Session):
    """A session of this door; a `tag` is the command's `ref`."""

    door = wire_format = NATIVE

    def welcome(self, connected: Connected) -> None:
        """See `Session.welcome`."""
        self.emit(connected)

    def emit(self, outgoing: Outgoing) -> None:
        """See `Session.emit`."""
        self.write(native_frame(outgoing))

    def ack(self, tag: str | None, ack: Ack) -> None:
        """See `Session.ack`."""
        self.write(text_frame(encode_ack(tag, ack)))

    def refuse(self, tag: str | None, error: OnRecordError) -> None:
        """See `Session.refuse`."""
        self.write(text_frame(encode_error(tag, error)))


class NativeDoor:
    """The endpoint of `/ws`."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._reception = Reception(services, NATIVE)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection."""
        early = bearer(websocket.headers.get("authorization"))
        if (denial := await self._denial(websocket, early)) is not None:
            await websocket.send_denial_response(denial)
            return
        await websocket.accept()
        transport = cast("Transport", websocket.scope["extensions"][EXTENSION])
        try:
            await self._converse(websocket, transport, early)
        finally:
            self._reception.went(transport.ending.code if transport.ending else ABNORMAL)

    async def _converse(self, websocket: WebSocket, transport: Transport, early: str | None) -> None:
        try:
            session = await self._connect(websocket, transport, early)
        except _Closed:
            return
        try:
            while True:
                text = await self._receive(websocket, transport)
                value = self._parse(transport, text)
                await self._reception.carry_out(session, ref_of(value), partial(decode, text, value))
        except _Closed:
            pass
        finally:
            await self._reception.end(session)

    async def _denial(self, websocket: WebSocket, early: str | None) -> PlainTextResponse | None:
        """Return why a connection is refused before it is one."""
        if not allowed_origin(websocket.headers, self._s.settings.origins):
            self._reception.came("foreign_origin")
            return PlainTextResponse("This origin is not allowed.", 403)
        if not self._s.readiness.ready:
            self._reception.came("not_ready")
            return PlainTextResponse("The log cannot be reached yet; come back.", 503, {"Retry-After": "1"})
        try:
            if early is not None:
                self._reception.count(await self._s.tokens.verify(early))
        except TooManyConnections as error:
            self._reception.came(error.code)
            return PlainTextResponse(str(error), 429)
        except (TokenInvalid, TokenExpired, Unavailable):
            pass  # the first frame may bring a better one
        return None

    async def _connect(self, websocket: WebSocket, transport: Transport, early: str | None) -> Session:
        try:
            async with asyncio.timeout(self._s.settings.connect_timeout):
                frame = await self._first_frame(websocket, transport)
        except TimeoutError:
            self._reception.came("too_late")
            transport.close(Close.TOKEN_INVALID, "no connect in time")
            raise _Closed from None
        if frame.protocol != PROTOCOL:
            self._reception.came("protocol_version")
            transport.close(Close.PROTOCOL_VERSION, f"this server speaks protocol {PROTOCOL}")
            raise _Closed
        try:
            identity = await self._reception.check(early if frame.token is None else frame.token)
            session = NativeSession(transport, self._s.hub, identity, self._s.settings.max_rooms)
            session.address = websocket.client.host if websocket.client else None
            session.client = described(websocket.headers.get("user-agent"))
            await self._reception.admit(session, identity, frame)
        except OnRecordError as error:
            self._reception.came(error.code)
            close = CLOSES.get(type(error))
            reason = str(error)[:100] if close else "cannot serve now; come back"
            transport.close(close or Close.SHUTTING_DOWN, reason)
            raise _Closed from error
        return session

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
        self._reception.check_rooms(frame)
        return frame

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
