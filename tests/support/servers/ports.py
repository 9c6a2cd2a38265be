"""Free TCP ports."""

import contextlib
import socket


def free_ports(count: int = 1) -> int:
    """Return the first of `count` consecutive free ports."""
    while True:
        with contextlib.ExitStack() as stack:
            first = 0
            try:
                for number in range(count):
                    held = stack.enter_context(socket.socket())
                    held.bind(("127.0.0.1", first + number if first else 0))
                    first = first or held.getsockname()[1]
            except OSError:
                continue
            return first
