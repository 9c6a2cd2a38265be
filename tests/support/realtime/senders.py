"""The ways in which a node writes to many sockets, for tests that run over each of them."""

import pytest

from service.gateway.transport.io_uring import UringSockets, tested
from service.runtime.direct_sockets import DirectSockets

SENDERS = ["send", pytest.param("uring", marks=pytest.mark.needs("io_uring"))]


def sender(name: str) -> DirectSockets:
    """Return sockets without entries; the caller closes them."""
    return UringSockets(tested()) if name == "uring" else DirectSockets()
