"""Which sockets may be written to without asking their transports, by descriptor.

A fan-out to thousands costs what it touches: a flag of one byte is read where the connection's objects are not.

The rule: a flag stands only while the connection is open and nothing of it waits in its transport. The transport raises
and lowers it; whoever writes without it looks at the flag right before, and has the transport send what is left.
"""

NOWHERE = -1
"""Stands for a socket that may never be written to so; its flag, the last one, is always down."""


class Straight(bytearray):
    """A flag for each descriptor that was ever named here, 1 or 0; to be read as `straight[descriptor]`."""

    def __init__(self) -> None:
        super().__init__(1)

    def allow(self, descriptor: int) -> None:
        """Raise a flag."""
        self._set(descriptor, 1)

    def deny(self, descriptor: int) -> None:
        """Lower it."""
        self._set(descriptor, 0)

    def _set(self, descriptor: int, flag: int) -> None:
        if descriptor == NOWHERE:
            return
        if descriptor + 1 >= len(self):
            self.extend(bytes(descriptor + 2 - len(self)))
        self[descriptor] = flag
