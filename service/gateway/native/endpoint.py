"""The native door, `GET /ws`: a connection from its upgrade to its last frame, by the rules of `docs/reference/protocol.md`."""

from functools import partial

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
from service.gateway.auth.tokens import bearer
from service.gateway.commands.dispatcher import Dispatcher, described
from service.gateway.services import Services
from service.gateway.session.session import Session
from service.gateway.transport.client_address import Addresses
from service.gateway.transport.problem import refusal
from service.gateway.transport.transport import ABNORMAL, Transport, Upgrade, WebSocketTransport
from service.gateway.websocket.frames import text_frame
from service.protocol.acks import Ack
from service.protocol.close_codes import Close
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
from service.runtime.timeouts import Timeouts

NATIVE = "native"

MAX_UNMET = 3
"""Frames before `connect` that are refused with an answer; one more closes the connection with 4501."""

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


class NativeEndpoint:
    """The endpoint of `/ws`: see `Endpoint`."""

    def __init__(self, services: Services) -> None:
        self.s = services
        self.reception = Dispatcher(services, NATIVE)
        self._addresses = Addresses(services.settings.trusted_proxies)
        self.unauthenticated: Timeouts[NativeConversation] = Timeouts(
            services.settings.connect_timeout, NativeConversation.too_late
        )

    async def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> None:
        """Refuse a connection before it is one, or let somebody in who has to say in time who they are."""
        request = request._replace(address=await self._addresses.of(request))
        refused = await self._refused(request)
        if refused is not None:
            transport.refuse(refusal(refused))
        else:
            transport.accept(lambda: NativeConversation(self, transport, request))

    async def _refused(self, request: Upgrade) -> OnRecordError | None:
        if (
            shut := self.reception.check_admission(
                request.headers, request.address, len(self.unauthenticated)
            )
        ) is not None:
            return shut
        try:
            if (early := bearer(request.headers.get("authorization"))) is not None:
                self.reception.check_connection_limit(await self.s.tokens.verify(early))
        except TooManyConnections as error:
            self.reception.count_handshake(error.code)
            return error
        except (TokenInvalid, TokenExpired, Unavailable):
            pass  # the first frame may bring a better one
        return None


class NativeConversation:
    """What is said over one connection: see `Conversation`."""

    def __init__(self, door: NativeEndpoint, transport: Transport, upgrade: Upgrade) -> None:
        self._door = door
        self._transport = transport
        self._early = bearer(upgrade.headers.get("authorization"))
        self._address = upgrade.address
        self._client = described(upgrade.headers.get("user-agent"))
        self._session: NativeSession | None = None
        self._unmet = 0
        door.unauthenticated.begin(self)

    async def take(self, message: str | bytes) -> None:
        """Carry out a command; until `connect` has come, no other is looked at."""
        if self._transport.closing and self._session is None:
            return
        if isinstance(message, bytes):
            self._transport.close(Close.MALFORMED, "text frames only")
            return
        try:
            value = parse(message)
        except NotAFrame as error:
            self._transport.close(Close.MALFORMED, str(error))
            return
        if self._session is None:
            await self._meet(message, value)
        else:
            await self._door.reception.dispatch(self._session, ref_of(value), partial(decode, message, value))

    async def ended(self) -> None:
        """Let the session go."""
        self._door.unauthenticated.end(self)
        if self._session is not None:
            await self._door.reception.end(self._session)
        ending = self._transport.ending
        self._door.reception.count_close(ending.code if ending else ABNORMAL)

    def too_late(self) -> None:
        """Hear that the time is over in which a client says who it is."""
        if not self._transport.closing:
            self._door.reception.count_handshake("too_late")
            self._transport.close(Close.TOKEN_INVALID, "no connect in time")

    async def _meet(self, text: str, value: dict[str, object]) -> None:
        try:
            frame = self._as_connect(text, value)
        except Refusal as error:
            self._refuse(ref_of(value), error)
            return
        self._door.unauthenticated.end(self)
        if frame.protocol != PROTOCOL:
            self._door.reception.count_handshake("protocol_version")
            self._transport.close(Close.PROTOCOL_VERSION, f"this server speaks protocol {PROTOCOL}")
            return
        try:
            await self._let_in(frame)
        except OnRecordError as error:
            self._session = None
            self._door.reception.count_handshake(error.code)
            close = CLOSES.get(type(error))
            # A reason has at most 123 bytes, however many of them a character takes.
            reason = (
                str(error).encode()[:100].decode(errors="ignore") if close else "cannot serve now; come back"
            )
            self._transport.close(close or Close.SHUTTING_DOWN, reason)

    def _refuse(self, ref: str | None, error: Refusal) -> None:
        """Answer a frame that is no `connect`; the deadline for one runs on."""
        self._unmet += 1
        if self._unmet > MAX_UNMET:
            self._door.reception.count_handshake(error.code)
            self._transport.close(Close.MALFORMED, "no connect")
        else:
            self._transport.write(text_frame(encode_error(ref, error)))

    async def _let_in(self, frame: Connect) -> None:
        services, reception = self._door.s, self._door.reception
        identity = await reception.authenticate(self._early if frame.token is None else frame.token)
        session = NativeSession(self._transport, services.hub, identity, services.settings.max_rooms)
        session.address, session.client = self._address, self._client
        await reception.admit(session, identity, frame)
        self._session = session

    def _as_connect(self, text: str, value: dict[str, object]) -> Connect:
        if value.get("type") != Connect.TYPE:
            raise NotConnected
        frame = decode_connect(text, value)
        self._door.reception.check_rooms(frame)
        return frame
