"""The native endpoint, `GET /ws`: a connection from its upgrade to its last frame (`docs/reference/protocol.md`)."""

from collections.abc import Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.config.settings import Settings
from service.errors import (
    AccountErased,
    AccountSuspended,
    NotAllowed,
    NotConnected,
    OnRecordError,
    Refusal,
    TokenExpired,
    TokenInvalid,
    TokenNotYetValid,
    TooManyConnections,
    TooManyRequests,
    TooManyRooms,
    Unavailable,
)
from service.gateway.auth.origins import READABLE, check_origin
from service.gateway.auth.prices import bytes_of
from service.gateway.auth.refusal_log import FOREIGN_ORIGIN
from service.gateway.auth.tokens import bearer
from service.gateway.commands.admission import Admission, SessionStarter, client_name
from service.gateway.commands.direct_posts import DirectPosts
from service.gateway.commands.dispatcher import Dispatcher
from service.gateway.session.counters import OK
from service.gateway.session.session import Session
from service.gateway.transport.client_address import ClientAddresses, canonical_address
from service.gateway.transport.problem import problem, refusal
from service.gateway.transport.transport import ABNORMAL, Ending, Upgrade, WebSocketTransport
from service.gateway.websocket.frames import text_frame
from service.protocol import native
from service.protocol.acks import Ack
from service.protocol.close_codes import Close, reason_of
from service.protocol.commands import PROTOCOL, Connect
from service.protocol.events import Connected, Outgoing
from service.realtime.hub import Hub
from service.runtime.timeouts import Timeouts

NATIVE = "native"
PATH = "/ws"

MAX_REFUSED = 3
"""Frames before `connect` that are refused with an answer; one more closes the connection with 4501."""

CLOSES: dict[type[OnRecordError], Close] = {
    AccountErased: Close.ERASED,
    AccountSuspended: Close.SUSPENDED,
    TokenInvalid: Close.TOKEN_INVALID,
    NotAllowed: Close.TOKEN_INVALID,
    TokenExpired: Close.TOKEN_EXPIRED,
    TokenNotYetValid: Close.TOKEN_NOT_YET_VALID,
    TooManyConnections: Close.TOO_MANY_REQUESTS,
    TooManyRequests: Close.TOO_MANY_REQUESTS,
}
"""The close code of each error that refuses a `connect`; after any other error clients reconnect (4000)."""


def native_frame(outgoing: Outgoing) -> bytes:
    """Return an event as a complete frame."""
    return text_frame(native.encode(outgoing))


class NativeSession(Session):
    """A session of this endpoint; a `tag` is the command's `ref`."""

    door = wire_format = NATIVE

    def welcome(self, connected: Connected) -> None:
        """See `Session.welcome`."""
        self.emit(connected)

    def emit(self, outgoing: Outgoing) -> None:
        """See `Session.emit`."""
        self.write(native_frame(outgoing))

    def ack(self, tag: str | None, ack: Ack) -> None:
        """See `Session.ack`."""
        self.write(text_frame(native.encode_ack(tag, ack)))

    def refuse(self, tag: str | None, error: OnRecordError) -> None:
        """See `Session.refuse`."""
        self.write(text_frame(native.encode_error(tag, error)))


class NativeEndpoint:
    """The endpoint of `/ws`: see `Endpoint`."""

    def __init__(
        self,
        admission: Admission,
        starter: SessionStarter,
        dispatcher: Dispatcher,
        hub: Hub,
        settings: Settings,
        posts: DirectPosts,
    ) -> None:
        self.admission = admission
        self.starter = starter
        self.dispatcher = dispatcher
        self.posts = posts
        self.hub = hub
        self._addresses = ClientAddresses(settings.trusted_proxies)
        self.unauthenticated: Timeouts[NativeConversation] = Timeouts(
            settings.connect_timeout, NativeConversation.time_out
        )

    def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> Coroutine[Any, Any, None] | None:
        """Refuse a connection, or accept it and wait for `connect` until the timeout."""
        headers = request.headers
        request = request._replace(address=self._addresses.of(request.address, headers.raw))
        refused = self.admission.check_request(headers, request.address, len(self.unauthenticated))
        if refused is None and (token := bearer(headers.get("authorization"))) is not None:
            return self._check_token(transport, request, token)
        self._answer(transport, request, refused)
        return None

    async def _check_token(self, transport: WebSocketTransport, request: Upgrade, token: str) -> None:
        """Refuse a connection of a user who has too many of them, or accept it."""
        refused: OnRecordError | None = None
        try:
            identity = await self.admission.tokens.verify(token)
            self.admission.check_connection_limit(identity.user)
        except TooManyConnections as error:
            refused = self.admission.refuse(error.code, request.address, error)
        except (TokenInvalid, TokenExpired, TokenNotYetValid, Unavailable):
            pass  # `connect` may carry a better token
        self._answer(transport, request, refused)

    def _answer(self, transport: WebSocketTransport, request: Upgrade, refused: OnRecordError | None) -> None:
        if refused is not None:
            transport.refuse(refusal(refused))
        else:
            transport.accept(lambda: NativeConversation(self, transport, request))

    def route(self) -> Route:
        """Return the route of requests to the endpoint that are no upgrades."""
        return Route(PATH, self.explain, methods=["GET", "POST"])

    async def explain(self, request: Request) -> Response:
        """Answer a request that is no upgrade: with the reason why an upgrade of its page is refused, or with 426.

        Browsers show no page the response that refuses its WebSocket. They send `Origin` with every POST.
        """
        try:
            check_origin(request.headers, self.admission.origins, "connect")
        except NotAllowed as error:
            address = canonical_address(request.client.host if request.client else None)
            self.admission.refusals.write(NATIVE, address, FOREIGN_ORIGIN, error)
            response = problem(request, error)
            response.headers.update(READABLE)
            return response
        return problem(request, HTTPException(426, headers={"Upgrade": "websocket"}))


class NativeConversation:
    """The frames of one connection: see `Conversation`."""

    def __init__(self, endpoint: NativeEndpoint, transport: WebSocketTransport, upgrade: Upgrade) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._token = bearer(upgrade.headers.get("authorization"))
        self._address = upgrade.address
        self._client = client_name(upgrade.headers.get("user-agent"))
        self._session: NativeSession | None = None
        self._refused = 0
        self._logged = False
        self._began = upgrade.began
        endpoint.unauthenticated.begin(self, self._began)

    def take_now(self, message: str | bytes) -> bool:
        """Post a message that needs nothing but what is in memory."""
        session = self._session
        return (
            session is not None
            and isinstance(message, str)
            and not self._transport.closing
            and self._endpoint.posts.take(session, message)
        )

    async def take(self, message: str | bytes) -> None:
        """Carry out a command; the first one must be `connect`."""
        if self._transport.closing and self._session is None:
            return
        if isinstance(message, bytes):
            self._close(Close.MALFORMED, "text frames only")
            return
        try:
            if self._session is None:
                await self._connect(message)
            else:
                received = native.Received(message)
                await self._endpoint.dispatcher.dispatch(
                    self._session, received.ref, received.command, bytes_of(message)
                )
        except native.NotAFrame as error:
            self._close(Close.MALFORMED, str(error))

    def _close(self, code: Close, reason: str) -> None:
        if self._session is None:
            self._log(reason_of(code, by_client=False))
        self._transport.close(code, reason)

    def _log(self, outcome: str, error: OnRecordError | None = None) -> None:
        self._logged = True
        self._endpoint.admission.refuse(outcome, self._address, error)

    async def ended(self) -> None:
        """End the session, and count the close."""
        self._endpoint.unauthenticated.end(self)
        if self._session is not None:
            await self._endpoint.starter.lifecycle.end(self._session)
        ending = self._transport.ending
        if self._session is None and not self._logged and ending is not None and _is_refusal(ending):
            self._log(reason_of(ending.code, by_client=False))  # the transport refused a frame
        self._endpoint.admission.count_close(ending.code if ending else ABNORMAL)

    def time_out(self) -> None:
        """Close the connection: no `connect` came in time."""
        if not self._transport.closing:
            self._log("too_late")
            self._transport.close(Close.TOKEN_INVALID, "no connect in time")

    async def _connect(self, text: str) -> None:
        await self._endpoint.admission.turn(self._address)
        if self._transport.closing:
            return
        value = native.parse(text)
        try:
            frame = self._as_connect(text, value)
        except Refusal as error:
            self._refuse(native.ref_of(value), error)
            return
        admission = self._endpoint.admission
        self._endpoint.unauthenticated.end(self)
        if frame.protocol != PROTOCOL:
            self._close(Close.PROTOCOL_VERSION, f"this server speaks protocol {PROTOCOL}")
            return
        try:
            await self._start_session(frame)
            admission.count_handshake(OK)
        except TooManyRooms as error:
            self._endpoint.unauthenticated.begin(self, self._began)  # the client may connect with fewer rooms
            self._refuse(native.ref_of(value), error)
        except OnRecordError as error:
            self._log(error.code, error)
            if isinstance(error, TokenNotYetValid):  # the close has no room for `retryAfter`
                self._transport.write(text_frame(native.encode_error(native.ref_of(value), error)))
            close = CLOSES.get(type(error))
            # A reason has at most 123 bytes; a character may take four of them.
            reason = str(error).encode()[:100].decode(errors="ignore")
            reason = reason if close else "cannot serve now; come back"
            self._transport.close(close or Close.SHUTTING_DOWN, reason)

    def _as_connect(self, text: str, value: dict[str, object]) -> Connect:
        if value.get("type") != Connect.TYPE:
            raise NotConnected
        self._endpoint.admission.check_rooms(value.get("rooms"))
        return native.decode_connect(text, value)

    def _refuse(self, ref: str | None, error: Refusal) -> None:
        """Answer a frame that is no valid `connect`; the timeout continues to run."""
        self._refused += 1
        if self._refused > MAX_REFUSED:
            self._log(error.code, error)
            self._transport.close(Close.MALFORMED, "no connect")
        else:
            self._transport.write(text_frame(native.encode_error(ref, error)))

    async def _start_session(self, frame: Connect) -> None:
        endpoint = self._endpoint
        identity = await endpoint.admission.authenticate(self._token if frame.token is None else frame.token)
        self._transport.account.identified = True
        session = NativeSession(self._transport, endpoint.hub, identity, endpoint.admission.limits)
        session.address, session.client = self._address, self._client
        await endpoint.starter.start(session, identity, frame)
        self._session = session


def _is_refusal(ending: Ending) -> bool:
    return not ending.by_client and ending.code in {*Close} - {Close.SHUTTING_DOWN}
