"""Sends pings and waits for pongs, with two timers for all connections of one transport."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from service.protocol.close_codes import Close
from service.runtime.timeouts import Timeouts


class HasHeartbeat(Protocol):
    """A connection that is pinged."""

    @property
    def busy(self) -> bool:
        """Whether received input is not read yet; it may contain a pong."""

    @property
    def closing(self) -> bool:
        """Whether the connection is ending."""

    def close(self, code: int, reason: str = "") -> None:
        """End the connection."""


T = TypeVar("T", bound=HasHeartbeat)


class Heartbeats(Generic[T]):
    """Pings each connection `interval` seconds after its last pong; `timeout` seconds without an answer close it."""

    def __init__(self, interval: float, timeout: float, ping: Callable[[T], None]) -> None:
        self.silence_allowed = interval + timeout
        self._ping = ping
        self._pings: Timeouts[T] = Timeouts(interval, self._ping_due)
        self._pongs: Timeouts[T] = Timeouts(timeout, self._pong_overdue)

    def start(self, connection: T) -> None:
        """Ping a connection `interval` seconds from now."""
        self._pings.begin(connection)

    def pong(self, connection: T) -> bool:
        """Return whether a received pong answers a ping; if so, restart the interval. Its payload does not matter."""
        if connection not in self._pongs:
            return False
        self._pongs.end(connection)
        self._pings.begin(connection)
        return True

    def stop(self, connection: T) -> None:
        """Send no more pings, and wait for no pong."""
        self._pings.end(connection)
        self._pongs.end(connection)

    def _ping_due(self, connection: T) -> None:
        self._ping(connection)
        if not connection.closing:
            self._pongs.begin(connection)

    def _pong_overdue(self, connection: T) -> None:
        if connection.busy:
            self._pongs.begin(connection)
        else:
            connection.close(Close.NO_PONG, "no pong")
