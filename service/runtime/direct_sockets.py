"""The sockets that fan-out may write to directly, indexed by file descriptor.

A flat list avoids an access to each connection object: cache misses dominate the cost of a fan-out to thousands.

Invariant: an entry exists only while the connection is open and its transport has no buffered data. The transport adds
and removes it. A direct writer checks the entry immediately before each write, and passes to the transport what the
kernel did not accept.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array

NOWHERE = -1
"""The descriptor of a socket without direct writes; its entry, the last of the list, is always None."""

Send = Callable[[bytes], int]
"""Writes as many bytes as the kernel accepts without blocking, and returns their number (`socket.send`)."""


Unwritten = tuple[int, int]
"""The position of a socket that did not accept a whole frame, and the number of bytes that it accepted."""


class DirectSockets(list[Send | None]):
    """An entry for each file descriptor up to the highest one used; read as `sockets[descriptor]`."""

    chunk = 32
    """Sockets written by one call of `write`."""

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

    @property
    def by_ring(self) -> bool:
        """Whether one system call writes to several sockets."""
        return False

    def close(self) -> None:
        """Release what writes at once to several sockets; no write follows."""

    def write(self, frame: bytes, descriptors: "array[int]") -> list[Unwritten]:
        """Write a frame to the sockets that have an entry; return those that did not accept all of it.

        The loop runs once per delivery, and touches as few objects as possible.
        """
        unwritten = []
        size = len(frame)
        for position, descriptor in enumerate(descriptors):
            taken = 0
            if (send := self[descriptor]) is not None:
                try:
                    taken = send(frame)
                except OSError:
                    taken = 0  # the send buffer is full, or the socket is broken, which its transport detects
                if taken == size:
                    continue
            unwritten.append((position, taken))
        return unwritten
