"""Decides which connections and users an endpoint admits, and starts their sessions."""

import logging
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from starlette.datastructures import Headers

from service.chat import DisplayNames
from service.domain.account import require_standing
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
from service.eventstore.readiness import Readiness
from service.gateway.auth.claims import CHAT
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.auth.origins import check_origin
from service.gateway.auth.refusal_log import FOREIGN_ORIGIN, RefusalLog
from service.gateway.auth.tokens import Identity, TokenVerifier
from service.gateway.commands.connect import ConnectHandler
from service.gateway.session.counters import Counters
from service.gateway.session.lifecycle import SessionLifecycle
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.rooms import RoomLimits
from service.gateway.session.session import Session
from service.gateway.transport.client_address import address_key
from service.presence.presence import Presence
from service.protocol.close_codes import Close
from service.protocol.commands import Connect
from service.realtime.user_cache import UserCache
from service.runtime.token_bucket import TokenBuckets
from service.runtime.turns import Turns

MAX_UNAUTHENTICATED = 10_000
"""Unauthenticated connections of an endpoint; opening one costs a client almost nothing."""

MAX_CLIENT = 200
"""Characters of a user agent that are recorded."""

TRY_AGAIN = 5.0
"""Seconds after which a user with too many connections may try again."""

E = TypeVar("E", bound=OnRecordError | None)

TOKEN_PLACES = {"native": "send it as token in connect", "socketio": "send it as auth: {token}"}
"""How a client sends its token, by door."""

log = logging.getLogger("onrecord.door")


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The checks of one endpoint before a session starts; `door` names the endpoint in the metrics."""

    door: str
    origins: tuple[str, ...]
    limits: RoomLimits
    handshakes: HandshakeLimit
    session_limit: TokenBuckets
    readiness: Readiness
    tokens: TokenVerifier
    sessions: SessionRegistry
    presence: Presence
    counters: Counters
    refusals: RefusalLog
    turns: Turns

    async def turn(self, address: str | None) -> None:
        """Return when it is the turn of an address, to begin a session."""
        await self.turns.turn(address_key(address))

    def check_request(
        self, headers: Headers, address: str | None, unauthenticated: int | None
    ) -> OnRecordError | None:
        """Return the error that refuses a request before authentication, or None.

        `unauthenticated` is the number of unauthenticated connections; None if the request opens no connection.
        """
        try:
            check_origin(headers, self.origins, "connect")
            if unauthenticated is None:
                return None
            self.handshakes.take(address)
        except NotAllowed as error:
            return self.refuse(FOREIGN_ORIGIN, address, error)
        except TooManyRequests as error:
            return self.refuse(error.code, address, error)
        if not self.readiness.ready:
            return self.refuse("not_ready", address, NotReady())
        if unauthenticated >= MAX_UNAUTHENTICATED:
            return self.refuse("too_many_strangers", address, TooManyStrangers())
        return None

    def refuse(self, outcome: str, address: str | None, error: E) -> E:
        """Count and log the refusal of a client; return the error."""
        self.count_handshake(outcome)
        self.refusals.write(self.door, address, outcome, error)
        return error

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity that a token proves.

        Raises:
            TokenInvalid, TokenExpired, TokenNotYetValid: there is no token, or it is not valid.
            NotAllowed: the token does not grant the scope `chat`.
            TooManyConnections: the user's connection limit is reached.
            TooManyRequests: the user begins sessions too often.
            Unavailable: the token cannot be verified now.
        """
        if token is None:
            raise TokenInvalid(problem=f"none was given; {TOKEN_PLACES[self.door]}", logged="none was given")
        identity = await self.tokens.verify(token)
        identity.require(CHAT)
        self.check_connection_limit(identity.user)
        self.session_limit.take(identity.user)
        return identity

    def check_rooms(self, rooms: object) -> None:
        """Check the number of `rooms` in `connect`, before they are read and before it is known which the user chose.

        Raises:
            TooManyRooms: there are more than a connection may subscribe to, of both kinds together.
        """
        if isinstance(rooms, dict) and len(rooms) > sum(self.limits):
            raise TooManyRooms(limit=self.limits.chosen)

    def check_connection_limit(self, user: str) -> None:
        """Check the per-user connection limit, over all nodes.

        Raises:
            TooManyConnections: the limit is reached.
        """
        if self.sessions.full(user, self.presence.remote_connections(user)):
            raise TooManyConnections(retryAfter=TRY_AGAIN)

    def count_handshake(self, outcome: str) -> None:
        """Count a handshake by its outcome; see `Counters.handshakes`."""
        self.counters.handshakes[self.door, outcome] += 1

    def count_close(self, code: int) -> None:
        """Count a closed connection by its close code."""
        self.counters.closes[self.door, code] += 1


@dataclass(frozen=True)
class SessionStarter:
    """Starts the sessions of authenticated users."""

    sessions: SessionRegistry
    people: UserCache
    names: DisplayNames
    connecting: ConnectHandler
    lifecycle: SessionLifecycle

    async def start(self, session: Session, identity: Identity, frame: Connect) -> None:
        """Start a session, and resume delivery from its cursors. After an error the session has ended.

        Raises:
            Refusal: the account is suspended or erased, or its name is refused.
            Trouble: the session cannot be served now.
        """
        session.source = address_key(session.address)
        self.sessions.add(session)
        try:
            await self.people.load([identity.user])
            require_standing(self.people.account(identity.user))
            if identity.name:
                await self.names.record(identity.user, identity.name, identity.issued_at)
            await self.connecting.connect(session, frame)
        except BaseException as error:
            if session.connected and isinstance(error, Exception):
                session.close(Close.SHUTTING_DOWN, "cannot serve now; come back")
            await self.lifecycle.end(session)
            if isinstance(error, Refusal) or not isinstance(error, Exception):
                raise
            known = isinstance(error, Trouble)
            log.error("connect_failed", extra={"problem": error}, exc_info=None if known else error)  # noqa: TRY400 - Trouble is known
            if known:
                raise
            raise Unavailable from error


def client_name(user_agent: str | None) -> str | None:
    """Return the printable characters of a user agent, at most `MAX_CLIENT`; None if there are none."""
    if not user_agent:
        return None
    if user_agent.isprintable():
        return user_agent[:MAX_CLIENT]
    return "".join(islice(filter(str.isprintable, user_agent), MAX_CLIENT)) or None
