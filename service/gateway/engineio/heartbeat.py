"""The heartbeats of all Engine.IO sessions: two queues, one for pings that are due and one for pongs."""

from typing import Protocol

from service.gateway.engineio.interface import Settings
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.runtime.timeouts import Timeouts


class Beating(Protocol):
    """A session, as its heart sees it."""

    busy: bool

    @property
    def closing(self) -> bool:
        """Whether it is over."""

    def send(self, packet: bytes) -> None:
        """Send a packet."""

    def close(self, code: int, reason: str = "") -> None:
        """End it."""


class Heartbeats:
    """The heartbeats of all sessions."""

    def __init__(self, settings: Settings) -> None:
        self.allowed = settings.ping_interval + settings.ping_timeout
        self._pings: Timeouts[Beating] = Timeouts(settings.ping_interval, self._ping)
        self._pongs: Timeouts[Beating] = Timeouts(settings.ping_timeout, self._no_pong)

    def beat(self, one: Beating) -> bool:
        """Note that a session lives; return whether a pong of it was due."""
        due = one in self._pongs
        self._pongs.end(one)
        self._pings.begin(one)
        return due

    def forget(self, one: Beating) -> None:
        """Leave a session alone."""
        self._pings.end(one)
        self._pongs.end(one)

    def _ping(self, one: Beating) -> None:
        one.send(engineio.PING)
        if not one.closing:
            self._pongs.begin(one)

    def _no_pong(self, one: Beating) -> None:
        if one.busy:  # the pong may lie where we have not read
            self._pongs.begin(one)
        else:
            one.close(Close.NO_PONG, "no pong")
