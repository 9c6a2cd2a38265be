"""Free TCP ports."""

import contextlib
import random
import socket

PORTS = range(10_000, 20_000)
"""Below the ports of outgoing connections, which could take one before it is used, and of embedded servers."""


def free_ports(count: int = 1) -> int:
    """Return the first of `count` consecutive free ports."""
    while True:
        with contextlib.ExitStack() as stack:
            first = random.choice(PORTS)
            try:
                for number in range(count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", first + number))
            except OSError:
                continue
            return first
