"""What the doors work with: everything is built in `service.app` and passed in as this one value."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from databases import Database

from service.chat import Chat, Markers
from service.live.hub import Hub
from service.live.people import People
from service.log.mapper import Mapper
from service.log.read import LogReader
from service.settings import Settings
from service.wire.auth import Tokens
from service.wire.limits import Rate
from service.wire.sessions import Sessions


@dataclass(frozen=True, kw_only=True)
class Services:
    """A running node."""

    settings: Settings
    epoch: str
    chat: Chat
    markers: Markers
    hub: Hub
    people: People
    mapper: Mapper
    log: LogReader
    reads: Database
    tokens: Tokens
    rate: Rate
    sessions: Sessions
    now: Callable[[], datetime]
    """The database's time."""
