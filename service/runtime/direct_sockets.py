"""The sockets that fan-out may write to directly, indexed by file descriptor.

A flat list avoids an access to each connection object: cache misses dominate the cost of a fan-out to thousands.

Invariant: an entry exists only while the connection is open and its transport has no buffered data. The transport adds
and removes it. A direct writer checks the entry immediately before each write, and passes to the transport what the
kernel did not accept.
"""

from collections.abc import Callable

NOWHERE = -1
"""The descriptor of a socket without direct writes; its entry, the last of the list, is always None."""

Send = Callable[[bytes], int]
"""Writes as many bytes as the kernel accepts without blocking, and returns their number (`socket.send`)."""


class DirectSockets(list[Send | None]):
    """An entry for each file descriptor up to the highest one used; read as `sockets[descriptor]`."""

    def __init__(self) -> None:
        super().__init__([None])

    def deny(self, descriptor: int) -> None:
        """Stop direct writes to a socket."""
        self.allow(descriptor, None)

    def allow(self, descriptor: int, send: Send | None) -> None:
        """Allow direct writes to a socket with `send`."""
        if descriptor == NOWHERE:
            return
        if (missing := descriptor + 2 - len(self)) > 0:
            self.extend([None] * missing)
        self[descriptor] = send
