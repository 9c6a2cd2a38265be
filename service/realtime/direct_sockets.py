"""Which sockets may be written to without asking their transports, by descriptor, and how.

A fan-out to thousands costs what it touches: one place of a list is read where the connection's objects are not.

The rule: a way to write stands here only while the connection is open and nothing of it waits in its transport. The
transport puts it up and takes it down; whoever writes without it looks right before, and has it send what is left.
"""

from collections.abc import Callable

NOWHERE = -1
"""Stands for a socket that may never be written to so; its place, the last one, is always empty."""

Send = Callable[[bytes], int]
"""Writes to a socket what the kernel takes at once, and returns how much that is (`socket.send`)."""


class DirectSockets(list[Send | None]):
    """A place for each descriptor that was ever named here; to be read as `straight[descriptor]`."""

    def __init__(self) -> None:
        super().__init__([None])

    def allow(self, descriptor: int, send: Send) -> None:
        """Let others write."""
        self._set(descriptor, send)

    def deny(self, descriptor: int) -> None:
        """Let nobody."""
        self._set(descriptor, None)

    def _set(self, descriptor: int, send: Send | None) -> None:
        if descriptor == NOWHERE:
            return
        if (more := descriptor + 2 - len(self)) > 0:
            self.extend([None] * more)
        self[descriptor] = send
