"""What the doors work with: everything is built in `service.app` and passed in as this one value."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from databases import Database

from service.audit.erase import Erasure
from service.audit.register import Register
from service.chat import Chat, Judging, Markers
from service.live.hub import Hub
from service.live.people import People
from service.live.presence import Presence
from service.live.relay import Relay
from service.live.typing import Typing
from service.log.mapper import Mapper
from service.log.notify import Bell
from service.log.past import PastReader
from service.log.probe import Probe
from service.log.read import LogReader
from service.log.readiness import Readiness
from service.metrics.exposition import Exposition
from service.settings import Settings
from service.wire.attendance import Attendance
from service.wire.auth import Tokens
from service.wire.handshakes import Handshakes
from service.wire.limits import Rate
from service.wire.oidc import Oidc
from service.wire.renewals import Renewals
from service.wire.sessions import Sessions
from service.wire.tally import Tally

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
    markers: Markers
    hub: Hub
    people: People
    mapper: Mapper
    log: LogReader
    past: PastReader
    register: Register
    bell: Bell
    reads: Database
    tokens: Tokens
    oidc: Oidc | None
    renewals: Renewals | None
    """Both None where people do not sign in at an identity provider."""
    rate: Rate
    handshakes: Handshakes
    sessions: Sessions
    presence: Presence
    typing: Typing
    attendance: Attendance
    judging: Judging
    erase: Callable[..., Awaitable[Erasure]]
    """See `service.audit.erase`."""
    leave_rooms: Callable[..., Awaitable[list[str]]]
    """See `service.audit.leaving`."""
    tally: Tally
    exposition: Exposition
    traces: "Traces | None"
    """None where nothing is traced."""
    now: Callable[[], datetime]
    """The database's time."""
