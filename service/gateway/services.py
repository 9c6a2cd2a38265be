"""What the doors work with: everything is built in `service.node.server` and passed in as this one value."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from databases import Database

from service.audit.access_log import AccessLog
from service.audit.privacy.erasure import Erasure
from service.chat import AccountSuspensions, Chat, ReadMarkers
from service.cluster.relay import Relay
from service.config.settings import Settings
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.health_probe import Probe
from service.eventstore.notifications import Waker
from service.eventstore.reader import LogReader
from service.eventstore.readiness import Readiness
from service.eventstore.serializer import EventSerializer
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.auth.oidc import Oidc
from service.gateway.auth.rate_limit import RateLimit
from service.gateway.auth.refresh_cookie import RefreshCookies
from service.gateway.auth.tokens import TokenVerifier
from service.gateway.session.counters import Counters
from service.gateway.session.lifecycle import SessionLifecycle
from service.gateway.session.registry import SessionRegistry
from service.observability.exposition import Exposition
from service.presence.presence import Presence
from service.presence.typing import Typing
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    from service.tracing import Traces


@dataclass(frozen=True, kw_only=True)
class Services:
    """A running node."""

    settings: Settings
    readiness: Readiness
    probe: Probe
    relay: Relay
    chat: Chat
    markers: ReadMarkers
    hub: Hub
    people: UserCache
    serializer: EventSerializer
    log: LogReader
    past: AsOfReader
    register: AccessLog
    bell: Waker
    reads: Database
    tokens: TokenVerifier
    oidc: Oidc | None
    renewals: RefreshCookies | None
    """Both None where people do not sign in at an identity provider."""
    rate: RateLimit
    handshakes: HandshakeLimit
    sessions: SessionRegistry
    presence: Presence
    typing: Typing
    attendance: SessionLifecycle
    judging: AccountSuspensions
    erase: Callable[..., Awaitable[Erasure]]
    """See `service.audit.privacy.erasure`."""
    leave_rooms: Callable[..., Awaitable[list[str]]]
    """See `service.audit.privacy.leave_rooms`."""
    tally: Counters
    exposition: Exposition
    traces: "Traces | None"
    """None where nothing is traced."""
    now: Callable[[], datetime]
    """The database's time."""
