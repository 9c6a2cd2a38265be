"""The ways in which a node writes to many sockets, for tests that run over each of them."""

from service.runtime.direct_sockets import DirectSockets
from service.runtime.io_uring import Unsupported, UringSockets, tested

try:
    tested().close()
    REFUSED = ""
except Unsupported as error:
    REFUSED = str(error)

SENDERS = ["send"] if REFUSED else ["send", "uring"]


def sender(name: str) -> DirectSockets:
    """Return sockets without entries; the caller closes them."""
    return UringSockets(tested()) if name == "uring" else DirectSockets()
